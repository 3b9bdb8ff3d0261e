"""Configurations as points, for models of a search and for distances.

N configurations, C coordinates, P dimensions of the space.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hybridtune.spaces.parameters import Config, Scalar

Points = NDArray[np.float64]
APART = 0.5**0.5
"""Two values of a choice are then as far from each other as the ends of a range."""


@dataclass(frozen=True)
class Range:
    """One coordinate: the low end of a range is at 0, the high end at 1; a log range is even in its logarithm."""

    known: FloatDistribution | IntDistribution

    width = 1

    def points(self, values: Sequence[Scalar]) -> Points:
        """(N, 1)"""
        return self._points(np.array(values, dtype=np.float64)[:, None])

    def value(self, point: Points) -> Scalar:
        """The closest one."""
        number = float(self._closest(self._scaled_back(point[:1]))[0])
        return int(number) if isinstance(self.known, IntDistribution) else number

    def random(self, count: int, rng: np.random.Generator) -> Points:
        # Every step has the same share, those at the ends as well.
        beyond = (self.known.step or 0) / 2
        low, high = self._even(self.known.low - beyond), self._even(self.known.high + beyond)
        drawn = rng.uniform(low, high, (count, 1))
        return self._points(self._closest(np.exp(drawn) if self.known.log else drawn))

    def on_grid(self, points: Points) -> Points:
        """The closest values to points that may lie beside the range or between its steps."""
        return self._points(self._closest(self._scaled_back(points)))

    def _points(self, numbers: Points) -> Points:
        low, high = self._even(self.known.low), self._even(self.known.high)
        scaled = np.log(numbers) if self.known.log else numbers
        return np.asarray((scaled - low) / (high - low)) if high > low else np.zeros_like(numbers)

    def _scaled_back(self, points: Points) -> Points:
        low, high = self._even(self.known.low), self._even(self.known.high)
        scaled = low + points.clip(0.0, 1.0) * (high - low)
        return np.asarray(np.exp(scaled) if self.known.log else scaled)

    def _closest(self, numbers: Points) -> Points:
        known = self.known
        if known.step is not None:
            numbers = known.low + known.step * np.round((numbers - known.low) / known.step)
        return numbers.clip(known.low, known.high)

    def _even(self, number: float) -> float:
        """On the scale on which the range is even."""
        return math.log(number) if self.known.log else number


@dataclass(frozen=True)
class OneOf:
    """A coordinate for each value of a choice."""

    known: CategoricalDistribution

    @property
    def width(self) -> int:
        return len(self.known.choices)

    def points(self, values: Sequence[Scalar]) -> Points:
        """(N, width)"""
        places = {choice: place for place, choice in enumerate(self.known.choices)}
        return APART * np.eye(self.width)[[places[value] for value in values]]

    def value(self, point: Points) -> Scalar:
        chosen = self.known.choices[int(np.argmax(point))]
        assert chosen is not None
        return chosen

    def random(self, count: int, rng: np.random.Generator) -> Points:
        return APART * np.eye(self.width)[rng.integers(self.width, size=count)]


class Coordinates:
    def __init__(self, search_space: Mapping[str, BaseDistribution]) -> None:
        self.axes: dict[str, Range | OneOf] = {name: _axis(known) for name, known in search_space.items()}
        ends = np.cumsum([axis.width for axis in self.axes.values()]).tolist()
        self.columns = {
            name: slice(end - axis.width, end) for (name, axis), end in zip(self.axes.items(), ends, strict=True)
        }
        """Where a dimension's coordinates are."""

    def points(self, configurations: Sequence[Config]) -> Points:
        """points_NC; each configuration has every dimension."""
        if not configurations:
            return np.empty((0, sum(axis.width for axis in self.axes.values())))
        return np.hstack([axis.points([params[name] for params in configurations]) for name, axis in self.axes.items()])

    def config(self, point: Points) -> Config:
        """The configuration that is closest to a point of C coordinates."""
        return {name: axis.value(point[self.columns[name]]) for name, axis in self.axes.items()}

    def random(self, count: int, rng: np.random.Generator) -> Points:
        """points_NC of `count` configurations, uniform in every dimension."""
        return np.hstack([axis.random(count, rng) for axis in self.axes.values()])

    def neighbours(self, points_NC: Points, share: float, width: float, rng: np.random.Generator) -> Points:
        """Of each configuration one that has each dimension drawn anew with probability `share`: a range normally
        around its value, with a standard deviation of `width` of the range, a choice at random.
        """
        moved = points_NC.copy()
        for name, axis in self.axes.items():
            drawn = np.flatnonzero(rng.random(len(moved)) < share)
            columns = self.columns[name]
            if isinstance(axis, OneOf):
                moved[drawn, columns] = axis.random(len(drawn), rng)
            else:
                steps = width * rng.standard_normal((len(drawn), 1))
                moved[drawn, columns] = axis.on_grid(moved[drawn, columns] + steps)
        return moved


def _axis(known: BaseDistribution) -> Range | OneOf:
    if isinstance(known, CategoricalDistribution):
        return OneOf(known)
    assert isinstance(known, FloatDistribution | IntDistribution)
    return Range(known)
