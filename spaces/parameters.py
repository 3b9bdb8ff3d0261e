"""Dimensions of a search space and what belongs to one: bounds, choices, conditions, the default configuration."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hybridtune.data.schema import InputError

Scalar = bool | int | float | str
Config = dict[str, Scalar]
"""A sampled configuration: name of the dimension -> value."""

LARGEST = 2**53
"""The study keeps numbers as floats; beyond this they skip whole numbers."""


def _one_value(value: Any) -> Any:
    if not isinstance(value, Scalar) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value must be text or a finite number, got {value!r:.80}")
    return value


Value = Annotated[Scalar, BeforeValidator(_one_value)]


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[Value, ...]] = {}
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

    def allows(self, value: Scalar) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def size(self) -> float:
        return 1 if self.low == self.high else math.inf


class Int(_Range):
    low: int = Field(ge=-LARGEST)
    high: int = Field(le=LARGEST)
    step: int = Field(default=1, ge=1)

    @property
    def values(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def nearest(self, value: Scalar) -> Scalar:
        steps = round((float(value) - self.low) / self.step)
        return self.values[min(max(steps, 0), len(self.values) - 1)]

    def allows(self, value: Scalar) -> bool:
        return value in self.values

    @property
    def size(self) -> float:
        return len(self.values)


class Choice(_Dimension):
    choices: tuple[Value, ...] = Field(min_length=1)

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

    def allows(self, value: Scalar) -> bool:
        return value in self.choices

    @property
    def size(self) -> float:
        return len(self.choices)


Dimension = Float | Int | Choice


@dataclass(frozen=True)
class Space:
    """Raises InputError if a condition can never hold: what it names must stand before it and can take its values."""

    name: str
    dimensions: Mapping[str, Dimension]
    reference: Config
    """The reference configuration: the default of every dimension, inside the space or not."""

    def __post_init__(self) -> None:
        before: dict[str, Dimension] = {}
        for name, dimension in self.dimensions.items():
            for other, values in dimension.when.items():
                check_condition(name, other, values, [before[other]] if other in before else [])
            before[name] = dimension

    @property
    def conditional(self) -> bool:
        return any(dimension.when for dimension in self.dimensions.values())

    def active(self, name: str, params: Config) -> bool:
        """Whether a dimension exists in a configuration, of which what stands before it is known."""
        return all(params.get(other) in values for other, values in self.dimensions[name].when.items())

    def default(self) -> Config:
        """Trial 0: the reference configuration, with the nearest value where the space leaves one out."""
        params: Config = {}
        for name, dimension in self.dimensions.items():
            if self.active(name, params):
                params[name] = dimension.nearest(self.reference[name])
        return params

    def check_inside(self, params: Config) -> None:
        """Raises InputError naming the dimension unless this is one of the space's configurations."""
        if strange := [name for name in params if name not in self.dimensions]:
            raise InputError(f"it has {strange[0]}={params[strange[0]]}, the space has no such dimension")
        for name, dimension in self.dimensions.items():
            active = self.active(name, params)
            if active != (name in params):
                raise InputError(f"it has {'no ' if active else ''}{name}, which depends on what else it has")
            if active and not dimension.allows(params[name]):
                raise InputError(f"its {name}={params[name]} is not {_in_words(dimension)}")

    def configurations(self) -> Iterator[Config]:
        """Every configuration of a finite space."""
        yield from self._completed({})

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
        return Space(name or self.name, kept, self.reference)

    def condition_values(self, name: str) -> tuple[Scalar, ...]:
        """Values of a dimension that conditions of others name."""
        return self._condition_values.get(name, ())

    @cached_property
    def _condition_values(self) -> dict[str, tuple[Scalar, ...]]:
        needed: dict[str, tuple[Scalar, ...]] = {}
        for dimension in self.dimensions.values():
            for other, values in dimension.when.items():
                needed[other] = tuple(dict.fromkeys((*needed.get(other, ()), *values)))
        return needed

    def _completed(self, params: Config) -> Iterator[Config]:
        """Every configuration that begins with what is known of the first dimensions."""
        active = (name for name in self.dimensions if name not in params and self.active(name, params))
        if (name := next(active, None)) is None:
            yield params
            return
        dimension = self.dimensions[name]
        for value in (dimension.low,) if isinstance(dimension, Float) else dimension.values:
            yield from self._completed(params | {name: value})

    def _size(self, names: list[str], params: Config) -> float:
        if not names:
            return 1
        name, *rest = names
        dimension = self.dimensions[name]
        if not self.active(name, params):
            return self._size(rest, params)
        telling = sum(self._size(rest, params | {name: value}) for value in self.condition_values(name))
        # All other values make the same difference: none.
        others = dimension.size - len(self.condition_values(name))
        return telling + (others * self._size(rest, params) if others else 0)


def check_condition(name: str, other: str, values: tuple[Scalar, ...], parents: Sequence[Dimension]) -> None:
    """Raises InputError if `name` cannot exist where `other` has one of the values.

    parents: what `other` is or may be, none if it does not stand before `name`.
    """
    listed = [parent.values for parent in parents if not isinstance(parent, Float)]
    if not listed:
        raise InputError(
            f"{name} depends on {other!r}: a condition must name choices or whole numbers that stand before it"
        )
    if strange := [value for value in values if not any(value in allowed for allowed in listed)]:
        raise InputError(f"{name} depends on {other}={strange[0]!r}: {other} is one of {_in_words(parents[0])}")


def _in_words(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.choices))
    step = f" in steps of {dimension.step}" if isinstance(dimension, Int) else ""
    return f"{dimension.low} to {dimension.high}{step}"


def _always(parent: Dimension | None, values: tuple[Scalar, ...]) -> bool:
    if parent is None or isinstance(parent, Float) or parent.when:
        return False
    return parent.size <= len(values) and set(parent.values) <= set(values)


def _never(parent: Dimension | None, values: tuple[Scalar, ...]) -> bool:
    return parent is not None and not isinstance(parent, Float) and not any(v in parent.values for v in values)


def _possible(kept: Mapping[str, Dimension], when: dict[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
    """Conditions without the values that what they name can no longer take."""
    possible = {}
    for other, values in when.items():
        parent = kept.get(other)
        possible[other] = tuple(v for v in values if parent is None or isinstance(parent, Float) or v in parent.values)
    return possible
