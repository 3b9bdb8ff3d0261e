"""Feature scaling inside the model, so that trials share one raw array and a checkpoint is complete.

Every scaling maps a value by itself, so none looks ahead, and is fitted on bars of the train slice alone.
Shapes: N bars, F features, Q quantiles; (..) any leading shape.
"""

from abc import ABC, abstractmethod
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridtune.data.store import Dataset
from hybridtune.models.architectures.config import ScalingName

CLIP: Final = 10.0
"""Scaled values are cut here: launches know jumps of a thousandfold."""

SAMPLE_BARS: Final = 50_000
"""Bars of the train slice that are looked at: enough for moments and quantiles, little to hold."""

WINSORISE_PERCENT: Final = 0.5
"""Share of bars at either end that the robust scaling moves to the rest."""

QUANTILES: Final = 201


class Scaling(nn.Module, ABC):
    """A fitted map of raw features to comparable ones; what was fitted lies in buffers."""

    @abstractmethod
    def fit(self, x_NF: NDArray[np.float32]) -> None:
        """x_NF: bars of the train slice and of no other."""


class StandardScaling(Scaling):
    """(x - mean) / standard deviation."""

    mean_F: Tensor
    deviation_F: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(input_size))
        self.register_buffer("deviation_F", torch.ones(input_size))

    def fit(self, x_NF: NDArray[np.float32]) -> None:
        mean_F, deviation_F = x_NF.mean(axis=0, dtype=np.float64), x_NF.std(axis=0, dtype=np.float64)
        self.mean_F.copy_(torch.from_numpy(mean_F))
        self.deviation_F.copy_(torch.from_numpy(_no_zeros(deviation_F, mean_F)))

    def forward(self, x: Tensor) -> Tensor:
        # Halves, as the difference of two values may be more than a float can hold.
        return ((x / 2 - self.mean_F / 2) / (self.deviation_F / 2)).clamp(-CLIP, CLIP)


class RobustScaling(Scaling):
    """(x - median) / interquartile range after winsorising at 0.5% and 99.5%, quartiles of the winsorised bars."""

    low_F: Tensor
    high_F: Tensor
    median_F: Tensor
    range_F: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        for name, value in (("low_F", -torch.inf), ("high_F", torch.inf), ("median_F", 0.0), ("range_F", 1.0)):
            self.register_buffer(name, torch.full((input_size,), value))

    def fit(self, x_NF: NDArray[np.float32]) -> None:
        percent = [WINSORISE_PERCENT, 25, 50, 75, 100 - WINSORISE_PERCENT]
        low_F, first_F, median_F, third_F, high_F = np.percentile(x_NF.astype(np.float64), percent, axis=0)
        # More than half of the bars may share one value, as zero staleness; their spread is then that of the rest.
        range_F = np.where(third_F > first_F, third_F - first_F, high_F - low_F)
        for buffer, values in (
            (self.low_F, low_F),
            (self.high_F, high_F),
            (self.median_F, median_F),
            (self.range_F, np.minimum(_no_zeros(range_F, median_F), np.finfo(np.float32).max)),
        ):
            buffer.copy_(torch.from_numpy(values))

    def forward(self, x: Tensor) -> Tensor:
        winsorised = torch.minimum(torch.maximum(x, self.low_F), self.high_F)
        # Halves, as the difference of two values may be more than a float can hold.
        return ((winsorised / 2 - self.median_F / 2) / (self.range_F / 2)).clamp(-CLIP, CLIP)


class QuantileScaling(Scaling):
    """The normal quantile of the value's rank among the train bars, linear between 201 of them.

    A value that many bars share gets the middle of its ranks. What lies outside gets the outermost quantile.
    """

    knot_FQ: Tensor
    normal_Q: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        # The outermost two stand for the middle of their half step, as the normal quantile of 0 is infinite.
        rank_Q = np.linspace(0, 1, QUANTILES).clip(0.25 / QUANTILES, 1 - 0.25 / QUANTILES)
        self.register_buffer("knot_FQ", torch.linspace(-3, 3, QUANTILES).repeat(input_size, 1))
        self.register_buffer("normal_Q", torch.special.ndtri(torch.from_numpy(rank_Q)).float())

    def fit(self, x_NF: NDArray[np.float32]) -> None:
        knot_QF = np.quantile(x_NF.astype(np.float64), np.linspace(0, 1, QUANTILES), axis=0)
        self.knot_FQ.copy_(torch.from_numpy(knot_QF.T.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        x_FN = x.reshape(-1, x.shape[-1]).T.contiguous()
        below_FN = (torch.searchsorted(self.knot_FQ, x_FN, right=True) - 1).clamp(0, QUANTILES - 1)
        above_FN = torch.searchsorted(self.knot_FQ, x_FN, right=False).clamp(0, QUANTILES - 1)
        left_FN, right_FN = self.knot_FQ.gather(1, below_FN), self.knot_FQ.gather(1, above_FN)
        apart_FN = right_FN > left_FN
        share_FN = torch.where(apart_FN, (x_FN - left_FN) / torch.where(apart_FN, right_FN - left_FN, 1.0), 0.5)
        low_FN, high_FN = self.normal_Q[below_FN], self.normal_Q[above_FN]
        return (low_FN + share_FN * (high_FN - low_FN)).T.reshape(x.shape)


SCALINGS: Final[dict[ScalingName, type[StandardScaling] | type[RobustScaling] | type[QuantileScaling]]] = {
    "standard": StandardScaling,
    "robust": RobustScaling,
    "quantile": QuantileScaling,
}


def make_scaling(name: ScalingName, input_size: int) -> Scaling:
    return SCALINGS[name](input_size)


def train_bars(dataset: Dataset) -> NDArray[np.float32]:
    """x_NF: bars of the train slice, the only ones a scaling may be fitted on; the same on every call.

    One bar of each of SAMPLE_BARS equal stretches of all train bars in a row, at a place drawn anew in each: a fixed
    stride that goes with the length of the series would meet the same few minutes of all of them.
    """
    members = dataset.members("train")
    end_M = np.cumsum(dataset.series.bars_M[members], dtype=np.int64)
    count = min(int(end_M[-1]), SAMPLE_BARS)
    edge = np.arange(count + 1) * end_M[-1] // count
    place_N = np.random.default_rng(0).integers(edge[:-1], edge[1:])
    until_M = np.searchsorted(place_N, end_M)
    rows = zip(members, np.split(place_N, until_M[:-1]), end_M - dataset.series.bars_M[members], strict=True)
    return np.concatenate([dataset.x_TF(int(index))[chosen - first] for index, chosen, first in rows if len(chosen)])


def _no_zeros(spread_F: NDArray[np.float64], center_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """One in place of a spread that float32 cannot tell from none: a feature that never changes stays at zero."""
    float32 = np.finfo(np.float32)
    tiny_F = np.maximum(float32.eps * np.abs(center_F), float32.tiny)
    return np.where(spread_F > tiny_F, spread_F, 1.0)
