"""The hybrid LSTM: fixed windows and an expanding window, joined by attention.

- An LSTM runs once over each series from launch; its state at minute t has seen bars 0..t.
- Self-attention: each anchor's state attends to the states up to it (or over the last
  `attention_span` minutes of them). Only anchors are queries: O(K * T) a series, not O(T * T).
- Each fixed window has an LSTM of its own, read at the anchor; the anchors of a series share its runs. Their states are
  the keys to which the expanding state cross-attends, so the weights say which time scale an anchor relied on.
- Fusion of both, then a head for each horizon.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons, S fixed windows, N = M * K.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from hybridtune.data.schema import InputError, at_least, check_choice
from hybridtune.models.architectures.config import (
    ArchitectureConfig,
    HorizonHeadsName,
    PositionsName,
    WindowRunsName,
    check_attention,
    check_window,
)
from hybridtune.models.architectures.forecaster import AttentionMaps, Component, Forecaster
from hybridtune.models.architectures.layers import (
    Attention,
    HorizonHeads,
    Rotation,
    WindowEncoder,
    anchor_mask,
    make_lstm,
    rows_at,
)
from hybridtune.models.architectures.positions import make_positions, minutes_of
from hybridtune.models.architectures.scaler import make_scaling


class HybridLSTM(Forecaster):
    @dataclass(frozen=True, kw_only=True)
    class Config(ArchitectureConfig):
        windows: tuple[int, ...] = (15, 60, 240)
        """Minutes of the fixed windows, ascending."""
        window_runs: WindowRunsName = "shared"
        """Whether anchors share runs of the windows' LSTMs, see layers.WindowEncoder."""
        attention_heads: int = 8
        """Divides hidden_size."""
        layers: int = 1
        """Layers of each LSTM."""
        attention_span: int = 720
        """Minutes up to the anchor that self-attention may attend to."""
        positions: PositionsName = "none"
        """Of the minutes in self-attention."""
        horizon_heads: HorizonHeadsName = "hierarchical"

        def __post_init__(self) -> None:
            super().__post_init__()
            at_least("layers", self.layers, 1)
            at_least("attention_span", self.attention_span, 1)
            check_attention(self.hidden_size, self.attention_heads, self.positions)
            check_choice("window_runs", self.window_runs, get_args(WindowRunsName))
            if not self.windows or list(self.windows) != sorted(set(self.windows)):
                raise InputError(f"windows must be ascending minutes above 0, got {self.windows}")
            for window in self.windows:
                check_window("windows", window, self.history)

    components: ClassVar[Mapping[str, Component]] = {
        "expanding": "encoder",
        "window_encoders": "encoder",
        "positions": "attention",
        "self_attention": "attention",
        "self_norm": "attention",
        "window_embedding_SD": "attention",
        "cross_attention": "attention",
        "cross_norm": "attention",
        "fusion": "head",
        "heads": "head",
    }

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, dropout = config.hidden_size, config.dropout
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.expanding = make_lstm(config.input_size, size, config.layers, dropout)
        self.positions = make_positions(config.positions, size, config.attention_heads, config.history)
        self.self_attention = Attention(size, config.attention_heads)
        self.self_norm = nn.LayerNorm(size)
        self.window_encoders = nn.ModuleList(
            WindowEncoder(window, config.input_size, size, config.layers, dropout, config.window_runs)
            for window in config.windows
        )
        self.window_embedding_SD = nn.Parameter(torch.zeros(len(config.windows), size))
        self.cross_attention = Attention(size, config.attention_heads)
        self.cross_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.fusion = nn.Sequential(nn.Linear(2 * size, size), nn.GELU(), nn.Dropout(dropout))
        self.heads = HorizonHeads(size, size // 2, config.horizons, dropout, config.horizon_heads)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        """logits_MKH. Bars after an anchor are never seen, so lengths and padding do not matter."""
        x_MTF = self.scaling(x_MTF)
        h_MTD, _ = self.expanding(x_MTF)
        self_MKD = self._attend_to_minutes(h_MTD, anchor_MK)
        query_N1D = self_MKD.flatten(0, 1)[:, None]
        cross_N1D = self.cross_attention(query_N1D, self._windows(x_MTF, anchor_MK))
        cross_MKD = self.cross_norm(query_N1D + self.dropout(cross_N1D)).view_as(self_MKD)
        logits_MKH: Tensor = self.heads(self.fusion(torch.cat([self_MKD, cross_MKD], dim=-1)))
        return logits_MKH

    @torch.no_grad()
    def attention(self, x_MTF: Tensor, anchor_MK: Tensor) -> AttentionMaps:
        x_MTF = self.scaling(x_MTF)
        h_MTD, _ = self.expanding(x_MTF)
        minutes = self.self_attention.weights(*self._minutes(h_MTD, anchor_MK))
        query_N1D = self._attend_to_minutes(h_MTD, anchor_MK).flatten(0, 1)[:, None]
        windows = self.cross_attention.weights(query_N1D, self._windows(x_MTF, anchor_MK))
        # (N, heads, 1, S) -> (M, heads, K, S)
        return AttentionMaps(minutes, windows.squeeze(2).view(*anchor_MK.shape, *windows.shape[1::2]).transpose(1, 2))

    def _windows(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        """windows_NSD: the state of each fixed window at each anchor."""
        windows_MKSD = torch.stack([encode(x_MTF, anchor_MK) for encode in self.window_encoders], dim=2)
        windows_NSD: Tensor = self.dropout(windows_MKSD.flatten(0, 1)) + self.window_embedding_SD
        return windows_NSD

    def _attend_to_minutes(self, h_MTD: Tensor, anchor_MK: Tensor) -> Tensor:
        attended_MKD = self.self_attention(*self._minutes(h_MTD, anchor_MK))
        normed: Tensor = self.self_norm(rows_at(h_MTD, anchor_MK) + self.dropout(attended_MKD))
        return normed

    def _minutes(self, h_MTD: Tensor, anchor_MK: Tensor) -> tuple[Tensor, Tensor, Tensor, Rotation]:
        """The arguments of self-attention: queries at the anchors, keys at all minutes, the mask, the rotation."""
        minute_1T = minutes_of(h_MTD, self.config.history)
        encoded_MTD = self.positions.added(h_MTD, minute_1T)
        allowed_MKT = anchor_mask(anchor_MK, h_MTD.shape[1], self.config.attention_span)
        return rows_at(encoded_MTD, anchor_MK), encoded_MTD, allowed_MKT, Rotation(self.positions, anchor_MK, minute_1T)
