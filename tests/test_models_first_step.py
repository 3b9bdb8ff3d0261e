"""What a device makes of a first step, before a search spends hours on it."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hybridtune.data.schema import InputError
from hybridtune.models import first_step as module
from hybridtune.models.device import pick_device
from hybridtune.models.first_step import TOLERANCE, first_step, gradient_error, refuse_untrainable

CPU = torch.device("cpu")
ASK = """
import torch
from hybridtune.models.first_step import refuse_untrainable
refuse_untrainable(torch.device("cpu"), "{}")
"""


def test_this_cpu_trains() -> None:
    assert first_step(CPU, "fp32") is None
    refuse_untrainable(CPU, "fp32")


@pytest.mark.parametrize(("precision", "refused"), [("bf16", True), ("fp32", False)])
def test_a_cpu_that_refuses_a_precision_is_said_at_once(precision: str, refused: bool) -> None:
    """Every trial failed, and memory was blamed: oneDNN's words are those of a lack of scratch memory."""
    old_cpu = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    asked = subprocess.run([sys.executable, "-c", ASK.format(precision)], env=old_cpu, capture_output=True, text=True)
    line = "cpu does not train in bf16 here (could not create a primitive descriptor"
    assert (asked.returncode != 0, line in asked.stderr) == (refused, refused)
    assert ("use --precision fp32" in asked.stderr) == refused


def test_apples_gpu_is_taken_by_those_alone_who_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was seen to train on wrong gradients in silence, and was what `auto` took."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto", has_gpu=False) == "cpu"
    assert pick_device("mps", has_gpu=False) == "mps"


class Doubled(torch.autograd.Function):
    """As a device whose kernel is wrong: its values are right, and its gradients are not."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return 2 * gradients[0]


class Wrong(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = (nn.LSTM(16, 16, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        states, _ = self.lower(x)
        states, _ = self.upper(Doubled.apply(states))  # type: ignore[no-untyped-call]
        return states, None


def test_wrong_gradients_are_seen_and_right_ones_pass() -> None:
    torch.manual_seed(0)
    assert gradient_error(nn.LSTM(16, 16, 2, batch_first=True, dropout=0.2), CPU) < TOLERANCE
    assert gradient_error(Wrong(), CPU) > 2 * TOLERANCE


def test_a_device_with_wrong_gradients_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such device is here: what it would answer is made up."""
    monkeypatch.setattr(module, "first_step", lambda device, precision: None)
    monkeypatch.setattr(module, "gradient_error", lambda model, device: 0.4)
    with pytest.raises(InputError, match="layers with dropout are off by 40% on meta: use --device cpu"):
        refuse_untrainable(torch.device("meta"), "fp32")
