"""The temporal convolutional network: dilated causal convolutions from launch (Bai et al. 2018, section 3).

Each level doubles the dilation, so a state has seen 1 + 2 (kernel - 1) (2^levels - 1) minutes. One pass over a series
serves all its anchors.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.data.schema import InputError, at_least
from hybridtune.models.architectures.config import (
    ArchitectureConfig,
)
from hybridtune.models.architectures.forecaster import Component, Forecaster
from hybridtune.models.architectures.layers import HorizonHeads, rows_at
from hybridtune.models.architectures.scaler import make_scaling

MOST_LEVELS = 16
"""The last then reads minutes that are three weeks apart."""


class TCN(Forecaster):
    @dataclass(frozen=True, kw_only=True)
    class Config(ArchitectureConfig):
        levels: int = 6
        """Each doubles the dilation."""
        kernel_size: int = 3
        """Minutes, a dilation apart, that a convolution reads."""

        def __post_init__(self) -> None:
            super().__post_init__()
            at_least("levels", self.levels, 1)
            at_least("kernel_size", self.kernel_size, 2)
            if self.levels > MOST_LEVELS:
                raise InputError(f"levels must be at most {MOST_LEVELS}, got {self.levels}: each doubles the dilation")

        @property
        def receptive_field(self) -> int:
            """Minutes up to the anchor that a state has seen."""
            return 1 + 2 * (self.kernel_size - 1) * ((1 << self.levels) - 1)

    components: ClassVar[Mapping[str, Component]] = {
        "embedding": "encoder",
        "levels": "encoder",
        "norm": "head",
        "heads": "head",
    }

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, dropout = config.hidden_size, config.dropout
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.embedding = nn.Linear(config.input_size, size)
        self.levels = nn.Sequential(
            *(Level(size, config.kernel_size, 2**level, dropout) for level in range(config.levels))
        )
        self.norm = nn.LayerNorm(size)
        self.heads = HorizonHeads(size, size // 2, config.horizons, dropout, config.horizon_heads)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        h_MTD = self.levels(self.embedding(self.scaling(x_MTF)))
        logits_MKH: Tensor = self.heads(self.norm(rows_at(h_MTD, anchor_MK)))
        return logits_MKH


class Level(nn.Module):
    """Two convolutions of one dilation, after a norm and beside a residual."""

    def __init__(self, size: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.first = CausalConvolution(size, kernel, dilation)
        self.second = CausalConvolution(size, kernel, dilation)
        self.dropout = ChannelDropout(dropout)

    def forward(self, h_MTD: Tensor) -> Tensor:
        inner_MTD = self.dropout(F.gelu(self.first(self.norm(h_MTD))))
        after_MTD: Tensor = h_MTD + self.dropout(F.gelu(self.second(inner_MTD)))
        return after_MTD


class ChannelDropout(nn.Module):
    """Drops whole channels of a series, as the paper does: neighbouring minutes would give a single value away."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, h_MTD: Tensor) -> Tensor:
        return h_MTD * F.dropout(h_MTD.new_ones(len(h_MTD), 1, h_MTD.shape[-1]), self.p, self.training)


class CausalConvolution(nn.Module):
    """Each minute reads itself and the minutes 1, 2, .. dilations before it; before launch there is zero.

    One matrix product over the shifted copies. On a CPU torch's Conv1d takes the same time in float32, but twice as
    long in bfloat16 at wide dilations.
    """

    def __init__(self, size: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.shifts = [dilation * step for step in reversed(range(kernel))]
        self.linear = nn.Linear(kernel * size, size)

    def forward(self, h_MTD: Tensor) -> Tensor:
        minutes = h_MTD.shape[1]
        padded_MTD = F.pad(h_MTD, (0, 0, self.shifts[0], 0))
        starts = [self.shifts[0] - shift for shift in self.shifts]
        out_MTD: Tensor = self.linear(torch.cat([padded_MTD[:, s : s + minutes] for s in starts], dim=-1))
        return out_MTD
