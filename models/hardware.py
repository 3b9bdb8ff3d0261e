"""What a user may choose to train on. Needs no torch; models.device says what is there."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Hardware:
    """What a training may run on, as its user chose."""

    gpus: float = 0.0
    """How many the training was given; a fraction is of one that others use too. More may be visible, which belong to
    other trainings.
    """
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"

    @property
    def has_gpu(self) -> bool:
        return self.gpus > 0


CUDA_CONTEXT_BYTES = 600 * 2**20
"""What CUDA itself takes of a GPU for each process that uses it; PyTorch's limit does not cover it."""


def memory_fraction(gpus: float, gpu_bytes: int) -> float:
    """How much of a GPU's memory PyTorch may take in a process that was given so many of them."""
    return 1.0 if gpus >= 1 else max(gpus - CUDA_CONTEXT_BYTES / gpu_bytes, gpus / 2)
