"""The hybrid LSTM: fixed windows and an expanding window, joined by attention.

- An LSTM runs once over each series from launch; its state at minute t has seen bars 0..t.
- Self-attention: each anchor's state looks back over the states up to it (or over the last
  `attention_span` minutes of them). Only anchors are queries: O(K * T) a series, not O(T * T).
- Each fixed window has an LSTM of its own, read at the anchor. Their states are the keys to which the
  expanding state cross-attends, so the weights say which time scale an anchor relied on.
- Fusion of both, then a head for each horizon.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons, S fixed windows, N = M * K.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data.schema import InputError
from models.check import at_least, check_sizes
from models.forecaster import Forecaster
from models.layers import Attention, HorizonHeads, WindowEncoder, anchor_mask, make_lstm, rows_at
from models.scaler import make_scaling


class AttentionMaps(NamedTuple):
    minutes: Tensor
    """(M, heads, K, T): self-attention of each anchor over the minutes since launch."""
    windows: Tensor
    """(M, heads, K, S): cross-attention of each anchor over the fixed windows."""


class HybridLSTM(Forecaster):
    @dataclass(frozen=True)
    class Config:
        input_size: int
        """Features of a bar."""
        horizons: int
        """How many horizons are predicted."""
        windows: tuple[int, ...] = (15, 60, 240)
        """Minutes of the fixed windows, ascending."""
        hidden_size: int = 128
        attention_heads: int = 8
        """Divides hidden_size."""
        layers: int = 1
        """Layers of each LSTM."""
        dropout: float = 0.3
        scaling: str = "standard"
        """Of the features: standard, robust or quantile."""
        attention_span: int = 720
        """Minutes up to the anchor that self-attention looks at."""

        def __post_init__(self) -> None:
            check_sizes(self)
            at_least("attention_span", self.attention_span, 1)
            at_least("attention_heads", self.attention_heads, 1)
            if not self.windows or list(self.windows) != sorted(set(self.windows)) or self.windows[0] < 1:
                raise InputError(f"windows must be ascending minutes above 0, got {self.windows}")
            if self.hidden_size % self.attention_heads:
                raise InputError(
                    "attention_heads must divide hidden_size, "
                    f"got (attention_heads={self.attention_heads}, hidden_size={self.hidden_size})"
                )

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, dropout = config.hidden_size, config.dropout
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.expanding = make_lstm(config.input_size, size, config.layers, dropout)
        self.self_attention = Attention(size, config.attention_heads)
        self.self_norm = nn.LayerNorm(size)
        self.window_encoders = nn.ModuleList(
            WindowEncoder(window, config.input_size, size, config.layers, dropout) for window in config.windows
        )
        self.window_embedding_SD = nn.Parameter(torch.zeros(len(config.windows), size))
        self.cross_attention = Attention(size, config.attention_heads)
        self.cross_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.fusion = nn.Sequential(nn.Linear(2 * size, size), nn.GELU(), nn.Dropout(dropout))
        self.heads = HorizonHeads(size, size // 2, config.horizons, dropout)

    def forward(self, x_MTF: Tensor, length_M: Tensor, anchor_MK: Tensor) -> Tensor:  # noqa: ARG002 the one signature
        """logits_MKH. Bars behind an anchor are never seen, so lengths and padding do not matter."""
        expanding_MKD, h_MTD, allowed_MKT, windows_NSD = self._encode(x_MTF, anchor_MK)
        self_MKD = self._attend_to_minutes(expanding_MKD, h_MTD, allowed_MKT)
        query_N1D = self_MKD.flatten(0, 1)[:, None]
        cross_N1D = self.cross_attention(query_N1D, windows_NSD, None)
        cross_MKD = self.cross_norm(query_N1D + self.dropout(cross_N1D)).view_as(self_MKD)
        logits_MKH: Tensor = self.heads(self.fusion(torch.cat([self_MKD, cross_MKD], dim=-1)))
        return logits_MKH

    @torch.no_grad()
    def attention(self, x_MTF: Tensor, anchor_MK: Tensor) -> AttentionMaps:
        """Where each anchor looked. In eval mode."""
        expanding_MKD, h_MTD, allowed_MKT, windows_NSD = self._encode(x_MTF, anchor_MK)
        minutes = self.self_attention.weights(expanding_MKD, h_MTD, allowed_MKT)
        self_MKD = self._attend_to_minutes(expanding_MKD, h_MTD, allowed_MKT)
        windows = self.cross_attention.weights(self_MKD.flatten(0, 1)[:, None], windows_NSD, None)
        # (N, heads, 1, S) -> (M, heads, K, S)
        return AttentionMaps(minutes, windows.squeeze(2).view(*anchor_MK.shape, *windows.shape[1::2]).transpose(1, 2))

    def _encode(self, x_MTF: Tensor, anchor_MK: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_MTF = self.scaling(x_MTF)
        h_MTD, _ = self.expanding(x_MTF)
        windows_MKSD = torch.stack([encode(x_MTF, anchor_MK) for encode in self.window_encoders], dim=2)
        windows_NSD = self.dropout(windows_MKSD.flatten(0, 1)) + self.window_embedding_SD
        allowed_MKT = anchor_mask(anchor_MK, x_MTF.shape[1], self.config.attention_span)
        return rows_at(h_MTD, anchor_MK), h_MTD, allowed_MKT, windows_NSD

    def _attend_to_minutes(self, expanding_MKD: Tensor, h_MTD: Tensor, allowed_MKT: Tensor) -> Tensor:
        attended_MKD = self.self_attention(expanding_MKD, h_MTD, allowed_MKT)
        normed: Tensor = self.self_norm(expanding_MKD + self.dropout(attended_MKD))
        return normed
