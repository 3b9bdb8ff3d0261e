"""Dimensions of a search space and what belongs to one: bounds, choices, the default configuration."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = bool | int | float | str
Config = dict[str, Scalar]
"""A flat sampled configuration: name of the dimension -> value."""


class _Range(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = getattr(self, "low"), getattr(self, "high")  # noqa: B009 declared by the subclasses
        if low > high:
            raise ValueError(f"low <= high must hold, got (low={low}, high={high})")
        if getattr(self, "log", False) and low <= 0:
            raise ValueError(f"a log range needs low > 0, got low={low}")
        return self


class Float(_Range):
    low: float
    high: float
    log: bool = False

    def nearest(self, value: Scalar) -> Scalar:
        return min(max(float(value), self.low), self.high)


class Int(_Range):
    low: int
    high: int
    step: int = Field(default=1, ge=1)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(range(self.low, self.high + 1, self.step))

    def nearest(self, value: Scalar) -> Scalar:
        return min(self.values, key=lambda allowed: abs(allowed - float(value)))


class Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Scalar, ...] = Field(min_length=1)

    @property
    def values(self) -> tuple[Scalar, ...]:
        return self.choices

    def nearest(self, value: Scalar) -> Scalar:
        """The value if it is a choice, else the closest number, else the first choice."""
        if value in self.choices:
            return value
        numbers = [c for c in self.choices if isinstance(c, int | float)]
        if isinstance(value, int | float) and numbers:
            return min(numbers, key=lambda allowed: abs(allowed - value))
        return self.choices[0]


Dimension = Float | Int | Choice


@dataclass(frozen=True)
class Space:
    name: str
    dimensions: Mapping[str, Dimension]
    guide: Config
    """The guide's default of every dimension, inside the space or not."""

    def default(self) -> Config:
        """Trial 0: the guide's defaults, or the nearest value where the space leaves one out."""
        return {name: dimension.nearest(self.guide[name]) for name, dimension in self.dimensions.items()}

    def size(self) -> float:
        """How many configurations there are; infinite with a float range that is more than a point."""
        return math.prod(
            (1 if d.low == d.high else math.inf) if isinstance(d, Float) else len(d.values)
            for d in self.dimensions.values()
        )

    def combinations(self, *names: str) -> list[tuple[Scalar, ...]]:
        """All joint values of some dimensions that can be listed."""
        listed = []
        for name in names:
            dimension = self.dimensions[name]
            assert not isinstance(dimension, Float)
            listed.append(dimension.values)
        return list(itertools.product(*listed))
