"""The attention weights of a member of a bundle at single anchors.

Shapes: M series, T minutes, K anchors of a series, A anchors in a row, E heads, S fixed windows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hybridtune.data.batches import Batch, pad_batch
from hybridtune.models.architectures.forecaster import Forecaster


@dataclass(frozen=True)
class AnchorAttention:
    """The weights of one anchor; those of a head sum to one."""

    minutes_ET: NDArray[np.float32]
    """Over the minutes from launch up to the anchor."""
    windows_ES: NDArray[np.float32] | None
    """Over the fixed windows, where the architecture has them."""


@dataclass(frozen=True)
class AttentiveMember:
    """A member whose architecture has attention."""

    member: str
    architecture: str
    weight: float
    """Its share in the ensemble, mean over the horizons."""
    model: Forecaster
    windows: tuple[int, ...]
    """Minutes of the fixed windows, if it attends to any."""

    def __str__(self) -> str:
        return f"{self.member} ({self.architecture}, mean weight {self.weight:.2f} in the ensemble)"

    @torch.inference_mode()
    def attend(self, batch: Batch) -> list[AnchorAttention]:
        """The weights at the valid anchors of a batch, in their order."""
        maps = self.model.eval().attention(torch.from_numpy(batch.x_MTF), torch.from_numpy(batch.anchor_MK))
        assert maps is not None
        minutes_AET = maps.minutes.transpose(1, 2).numpy()[batch.valid_MK]
        windows_AES = None if maps.windows is None else maps.windows.transpose(1, 2).numpy()[batch.valid_MK]
        return [
            AnchorAttention(minutes_AET[a, :, : anchor + 1], None if windows_AES is None else windows_AES[a])
            for a, anchor in enumerate(batch.anchor_MK[batch.valid_MK])
        ]

    def attend_at(self, x_TF: NDArray[np.float32], minute: int) -> AnchorAttention:
        """The weights at one minute of one series."""
        no_labels = np.empty((1, 0), dtype=np.int8)
        (attention,) = self.attend(pad_batch([x_TF], [np.array([minute])], [no_labels]))
        return attention


def attentive_member(member: str, architecture: str, weight: float, model: Forecaster) -> AttentiveMember | None:
    """None for an architecture without attention."""
    one_bar = torch.zeros(1, 1, model.config.input_size)
    maps = model.eval().attention(one_bar, torch.zeros(1, 1, dtype=torch.int64))
    if maps is None:
        return None
    return AttentiveMember(member, architecture, weight, model, () if maps.windows is None else model.config.windows)
