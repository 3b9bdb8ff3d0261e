"""Dimensions of a search space and what belongs to one: bounds, choices, conditions, the default configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.schema import InputError

Scalar = bool | int | float | str
Config = dict[str, Scalar]
"""A flat sampled configuration: name of the dimension -> value."""


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[Scalar, ...]] = {}
    """The dimension exists only where each of these others has one of these values."""


class _Range(_Dimension):
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

    @property
    def size(self) -> float:
        return 1 if self.low == self.high else math.inf


class Int(_Range):
    low: int
    high: int
    step: int = Field(default=1, ge=1)

    @property
    def values(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def nearest(self, value: Scalar) -> Scalar:
        steps = round((float(value) - self.low) / self.step)
        return self.values[min(max(steps, 0), len(self.values) - 1)]

    @property
    def size(self) -> float:
        return len(self.values)


class Choice(_Dimension):
    choices: tuple[Scalar, ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _each_once(cls, choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if twice := [value for value in choices if choices.count(value) > 1]:
            raise ValueError(f"every choice must be there once, got {twice[0]!r} more often")
        return choices

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

    @property
    def size(self) -> float:
        return len(self.choices)


Dimension = Float | Int | Choice


@dataclass(frozen=True)
class Space:
    """Raises InputError if a condition can never be asked: what it names must stand before it and be a choice."""

    name: str
    dimensions: Mapping[str, Dimension]
    guide: Config
    """The guide's default of every dimension, inside the space or not."""

    def __post_init__(self) -> None:
        before: dict[str, Dimension] = {}
        for name, dimension in self.dimensions.items():
            for other, values in dimension.when.items():
                parent = before.get(other)
                if not isinstance(parent, Choice):
                    raise InputError(
                        f"{name} depends on {other!r}: a condition must name a choice that stands before it"
                    )
                if strange := [value for value in values if value not in parent.choices]:
                    raise InputError(f"{name} depends on {other}={strange[0]!r}: {other} is one of {parent.choices}")
            before[name] = dimension

    @property
    def conditional(self) -> bool:
        return any(dimension.when for dimension in self.dimensions.values())

    def active(self, name: str, flat: Config) -> bool:
        """Whether a dimension exists in a configuration, of which what stands before it is known."""
        return all(flat.get(other) in values for other, values in self.dimensions[name].when.items())

    def default(self) -> Config:
        """Trial 0: the guide's defaults, or the nearest value where the space leaves one out."""
        flat: Config = {}
        for name, dimension in self.dimensions.items():
            if self.active(name, flat):
                flat[name] = dimension.nearest(self.guide[name])
        return flat

    def size(self) -> float:
        """How many configurations there are; infinite with a float range that is more than a point."""
        return self._size(list(self.dimensions), {})

    def with_dimensions(self, changes: Mapping[str, Dimension], name: str | None = None) -> "Space":
        """With some dimensions in place of its own. One that can never exist any more is left out, a condition that
        always holds is dropped.
        """
        kept: dict[str, Dimension] = {}
        for key, dimension in (dict(self.dimensions) | dict(changes)).items():
            left = {other: values for other, values in dimension.when.items() if not _always(kept.get(other), values)}
            dropped = any(other in self.dimensions and other not in kept for other in left)
            if not dropped and not any(_never(kept.get(other), values) for other, values in left.items()):
                kept[key] = dimension.model_copy(update={"when": _possible(kept, left)})
        return Space(name or self.name, kept, self.guide)

    @cached_property
    def _conditions(self) -> set[str]:
        return {other for dimension in self.dimensions.values() for other in dimension.when}

    def _size(self, names: list[str], flat: Config) -> float:
        if not names:
            return 1
        name, *rest = names
        dimension = self.dimensions[name]
        if not self.active(name, flat):
            return self._size(rest, flat)
        if name in self._conditions:
            assert isinstance(dimension, Choice)
            return sum(self._size(rest, flat | {name: value}) for value in dimension.values)
        return dimension.size * self._size(rest, flat)


def _always(parent: Dimension | None, values: tuple[Scalar, ...]) -> bool:
    return isinstance(parent, Choice) and not parent.when and set(parent.choices) <= set(values)


def _never(parent: Dimension | None, values: tuple[Scalar, ...]) -> bool:
    return isinstance(parent, Choice) and not set(parent.choices) & set(values)


def _possible(kept: Mapping[str, Dimension], when: dict[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
    """Conditions without the values that what they name can no longer take."""
    possible = {}
    for other, values in when.items():
        parent = kept.get(other)
        possible[other] = tuple(v for v in values if not isinstance(parent, Choice) or v in parent.choices)
    return possible
