"""Positional encodings: how attention learns which minute a state belongs to. Minutes count from launch.

Shapes: N series, J minutes, D hidden, E = D / heads.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

from hybridtune.models.architectures.config import PositionsName

LONGEST_WAVE: Final = 10_000.0
"""Base of the wavelengths (Vaswani et al. 2017, section 3.5)."""


class Positions(nn.Module):
    """No encoding. Subclasses add a vector to each minute's state, or rotate queries and keys."""

    def added(self, x_NJD: Tensor, minute_NJ: Tensor) -> Tensor:  # noqa: ARG002 the one signature
        return x_NJD

    def rotated(self, x_NhJE: Tensor, minute_NJ: Tensor) -> Tensor:  # noqa: ARG002 the one signature
        """x: queries or keys of h heads."""
        return x_NhJE


class SinusoidalPositions(Positions):
    """Adds sines and cosines of the minute (Vaswani et al. 2017, section 3.5)."""

    table_TD: Tensor

    def __init__(self, hidden_size: int, history: int) -> None:
        super().__init__()
        angle_TE = _angles(hidden_size, history)
        self.register_buffer("table_TD", torch.cat([angle_TE.sin(), angle_TE.cos()], dim=1), persistent=False)

    def added(self, x_NJD: Tensor, minute_NJ: Tensor) -> Tensor:
        return x_NJD + self.table_TD[minute_NJ]


class LearnedPositions(Positions):
    """Adds a learned vector for each minute."""

    def __init__(self, hidden_size: int, history: int) -> None:
        super().__init__()
        self.table = nn.Embedding(history, hidden_size)
        nn.init.normal_(self.table.weight, std=0.02)

    def added(self, x_NJD: Tensor, minute_NJ: Tensor) -> Tensor:
        summed: Tensor = x_NJD + self.table(minute_NJ)
        return summed


class RotaryPositions(Positions):
    """Rotates queries and keys by an angle that grows with the minute, so that their product depends on the distance
    (Su et al. 2021, section 3.2).
    """

    cosine_TE: Tensor
    sine_TE: Tensor

    def __init__(self, head_size: int, history: int) -> None:
        super().__init__()
        angle_TE = _angles(head_size, history).repeat(1, 2)
        self.register_buffer("cosine_TE", angle_TE.cos(), persistent=False)
        self.register_buffer("sine_TE", angle_TE.sin(), persistent=False)

    def rotated(self, x_NhJE: Tensor, minute_NJ: Tensor) -> Tensor:
        left, right = x_NhJE.chunk(2, dim=-1)
        quarter_turn = torch.cat([-right, left], dim=-1)
        cosine, sine = (table[minute_NJ][:, None].to(x_NhJE.dtype) for table in (self.cosine_TE, self.sine_TE))
        return x_NhJE * cosine + quarter_turn * sine


def minutes_of(x_MTD: Tensor, history: int) -> Tensor:
    """minute_1T since launch. Minutes beyond the history are padding, to which no query attends."""
    return torch.arange(x_MTD.shape[1], device=x_MTD.device).clamp(max=history - 1)[None]


POSITIONS: Final = ("none", "sinusoidal", "learned", "rotary")


def make_positions(name: PositionsName, hidden_size: int, heads: int, history: int) -> Positions:
    match name:
        case "sinusoidal":
            return SinusoidalPositions(hidden_size, history)
        case "learned":
            return LearnedPositions(hidden_size, history)
        case "rotary":
            return RotaryPositions(hidden_size // heads, history)
        case _:
            return Positions()


def _angles(size: int, history: int) -> Tensor:
    """(history, size / 2): minute times a frequency that falls geometrically."""
    frequency_E = torch.exp(torch.arange(0, size, 2) * (-math.log(LONGEST_WAVE) / size))
    return torch.arange(history)[:, None] * frequency_E
