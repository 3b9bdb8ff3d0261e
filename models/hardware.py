"""What a user may choose to train on. Needs no torch; models.device says what is there."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Hardware:
    """What a training may run on, as its user chose."""

    has_gpu: bool = False
    """Whether the training was given a GPU. Others may be visible that belong to other trainings."""
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
