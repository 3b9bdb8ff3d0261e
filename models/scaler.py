"""Feature scaling inside the model, so that trials share one raw array and a checkpoint is complete."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.store import Dataset

CLIP = 10.0
"""Standard deviations beyond which a scaled feature is cut: launches know jumps of a thousandfold."""

SAMPLE_BARS = 200_000
"""Bars of the train slice that are looked at, evenly spaced: enough for two moments at any size."""


class StandardScaling(nn.Module):
    """(x - mean) / standard deviation, clipped."""

    mean_F: Tensor
    deviation_F: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(input_size))
        self.register_buffer("deviation_F", torch.ones(input_size))

    def fit(self, x_NF: NDArray[np.float32]) -> None:
        """A feature that does not change beyond rounding is left at zero, not divided by it."""
        deviation_F = x_NF.std(axis=0, dtype=np.float64)
        mean_F = x_NF.mean(axis=0, dtype=np.float64)
        float32 = np.finfo(np.float32)
        changes_F = deviation_F > np.maximum(float32.eps * np.abs(mean_F), float32.tiny)
        self.mean_F.copy_(torch.from_numpy(mean_F))
        self.deviation_F.copy_(torch.from_numpy(np.where(changes_F, deviation_F, 1.0)))

    def forward(self, x_MTF: Tensor) -> Tensor:
        return ((x_MTF - self.mean_F) / self.deviation_F).clamp(-CLIP, CLIP)


def train_bars(dataset: Dataset) -> NDArray[np.float32]:
    """x_NF: evenly spaced bars of the train slice, the only ones a scaling may be fitted on."""
    members = dataset.members("train")
    every = max(1, int(dataset.series.bars_M[members].sum()) // SAMPLE_BARS)
    return np.concatenate([dataset.x_TF(int(index))[::every] for index in members])
