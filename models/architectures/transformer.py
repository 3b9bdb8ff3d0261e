"""The transformer: causal self-attention over the minutes since launch, and nothing else.

Every block but the last runs over all minutes; the queries of the last are the anchors only. So one pass over a series
serves all its anchors, as with an LSTM.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hybridtune.data.schema import at_least
from hybridtune.models.architectures.config import (
    ArchitectureConfig,
    PositionsName,
    check_attention,
)
from hybridtune.models.architectures.forecaster import AttentionMaps, Component, Forecaster
from hybridtune.models.architectures.layers import Attention, HorizonHeads, Rotation, anchor_mask, rows_at
from hybridtune.models.architectures.positions import make_positions, minutes_of
from hybridtune.models.architectures.scaler import make_scaling

FEED_FORWARD = 4
"""Width of the feed-forward layer in hidden sizes (Vaswani et al. 2017, section 3.3)."""


class Transformer(Forecaster):
    @dataclass(frozen=True, kw_only=True)
    class Config(ArchitectureConfig):
        blocks: int = 2
        attention_heads: int = 8
        """Divides hidden_size."""
        positions: PositionsName = "sinusoidal"
        """Of the minutes."""

        def __post_init__(self) -> None:
            super().__post_init__()
            at_least("blocks", self.blocks, 1)
            check_attention(self.hidden_size, self.attention_heads, self.positions)

    components: ClassVar[Mapping[str, Component]] = {
        "embedding": "encoder",
        "positions": "attention",
        "blocks": "attention",
        "norm": "attention",
        "heads": "head",
    }

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, dropout = config.hidden_size, config.dropout
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.embedding = nn.Linear(config.input_size, size)
        self.positions = make_positions(config.positions, size, config.attention_heads, config.history)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(size, config.attention_heads, dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(size)
        self.heads = HorizonHeads(size, size // 2, config.horizons, dropout, config.horizon_heads)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        h_MTD = self._up_to_last_block(x_MTF)
        allowed_MKT, rotation = self._mask_and_rotation(h_MTD, anchor_MK)
        state_MKD = self.blocks[-1](rows_at(h_MTD, anchor_MK), h_MTD, allowed_MKT, rotation)
        logits_MKH: Tensor = self.heads(self.norm(state_MKD))
        return logits_MKH

    @torch.no_grad()
    def attention(self, x_MTF: Tensor, anchor_MK: Tensor) -> AttentionMaps:
        """Of the last block."""
        h_MTD = self._up_to_last_block(x_MTF)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        normed_MTD = last.attention_norm(h_MTD)
        allowed_MKT, rotation = self._mask_and_rotation(h_MTD, anchor_MK)
        return AttentionMaps(
            last.attention.weights(rows_at(normed_MTD, anchor_MK), normed_MTD, allowed_MKT, rotation), None
        )

    def _up_to_last_block(self, x_MTF: Tensor) -> Tensor:
        """h_MTD: what the last block reads of every minute."""
        minute_1T = minutes_of(x_MTF, self.config.history)
        h_MTD: Tensor = self.dropout(self.positions.added(self.embedding(self.scaling(x_MTF)), minute_1T))
        rotation = Rotation(self.positions, minute_1T, minute_1T)
        for block in self.blocks[:-1]:
            h_MTD = block(h_MTD, h_MTD, None, rotation)
        return h_MTD

    def _mask_and_rotation(self, h_MTD: Tensor, anchor_MK: Tensor) -> tuple[Tensor, Rotation]:
        minute_1T = minutes_of(h_MTD, self.config.history)
        allowed_MKT = anchor_mask(anchor_MK, h_MTD.shape[1], span=h_MTD.shape[1])
        return allowed_MKT, Rotation(self.positions, anchor_MK, minute_1T)


class Block(nn.Module):
    """Attention, then a feed-forward layer, each after a norm and beside a residual (Xiong et al. 2020, figure 1b)."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = Attention(hidden_size, heads)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, FEED_FORWARD * hidden_size),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(FEED_FORWARD * hidden_size, hidden_size),
            nn.Dropout(dropout),
        )

    def forward(self, query_MKD: Tensor, h_MTD: Tensor, allowed_MKT: Tensor | None, rotation: Rotation) -> Tensor:
        """The states query_MKD after the block. allowed_MKT None: the queries are all minutes, attention is causal."""
        keys_MTD = self.attention_norm(h_MTD)
        normed_MKD = keys_MTD if allowed_MKT is None else self.attention_norm(query_MKD)
        attended_MKD = self.attention(normed_MKD, keys_MTD, allowed_MKT, rotation, causal=allowed_MKT is None)
        state_MKD = query_MKD + self.dropout(attended_MKD)
        after_MKD: Tensor = state_MKD + self.feed_forward(state_MKD)
        return after_MKD
