"""What a device makes of the first step of a tiny LSTM, before a search spends hours on it."""

import torch
from torch import Tensor, nn

from hybridtune.data.schema import InputError
from hybridtune.models.architectures.layers import make_lstm
from hybridtune.models.hardware import Precision

SERIES, MINUTES, SIZE, LAYERS, DROPOUT = 4, 8, 16, 2, 0.2
STEP, TOLERANCE = 1e-2, 0.05
"""Of the finite difference that a gradient is held against, and how far it may be off."""


def refuse_untrainable(device: torch.device, precision: Precision) -> None:
    """Raises InputError if a step fails there, or if its gradients are wrong.

    Some CPUs refuse bf16 in words that speak of memory. Apple's GPU was seen to train LSTMs of several layers with
    dropout on wrong gradients, without a word.
    """
    problem = first_step(device, precision)
    if problem is not None:
        raise InputError(f"{device.type} does not train in {precision} here ({problem}): use --precision fp32")
    if device.type != "cpu":
        off = gradient_error(_model(device), device)
        if off > TOLERANCE:
            raise InputError(
                f"the gradients of an LSTM of {LAYERS} layers with dropout are off by {off:.0%} on {device.type}: use "
                "--device cpu, or another version of torch"
            )


def first_step(device: torch.device, precision: Precision) -> str | None:
    """Why it fails, None if it does not."""
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = _loss(_model(device), device)
        loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return None


def gradient_error(model: nn.Module, device: torch.device) -> float:
    """How far the gradient is from the slope that it should be, in the direction of a random change of all weights.

    The slope is a central difference under the same dropout, so that a device is held against itself.
    """
    model.zero_grad()
    loss = _loss(model, device)
    loss.backward()  # type: ignore[no-untyped-call]
    chance = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=chance).to(device) for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    said = sum(float((g * along).sum()) for g, along in zip(gradients, direction, strict=True) if g is not None)
    before, after = (_shifted(model, direction, by, device) for by in (-STEP, STEP))
    slope = (after - before) / (2 * STEP)
    return abs(said - slope) / abs(slope)


def _shifted(model: nn.Module, direction: list[Tensor], by: float, device: torch.device) -> float:
    with torch.no_grad():
        for parameter, along in zip(model.parameters(), direction, strict=True):
            parameter.add_(along, alpha=by)
        value = float(_loss(model, device))
        for parameter, along in zip(model.parameters(), direction, strict=True):
            parameter.sub_(along, alpha=by)
    return value


def _model(device: torch.device) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_lstm(SIZE, SIZE, LAYERS, DROPOUT).to(device)


def _loss(model: nn.Module, device: torch.device) -> Tensor:
    """Under the same dropout each time."""
    x = torch.randn(SERIES, MINUTES, SIZE, generator=torch.Generator().manual_seed(2)).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(3)
        states, _ = model(x)
    squared: Tensor = states.float().square().sum()
    return squared
