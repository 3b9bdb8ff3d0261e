"""Configurations as points: what a model of a search, or a distance between two configurations, is made of.

D: the coordinates of a point.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybridtune.spaces.draws import share_of
from hybridtune.spaces.parameters import Choice, Config, Scalar, Space


class Encoding:
    """Each range is one coordinate in 0..1, in its logarithm if it is log; each choice has one for each of its values,
    so that any two values are as far apart as the ends of a range. A dimension that a configuration lacks is at its
    default.
    """

    def __init__(self, space: Space) -> None:
        self._dimensions = {name: dimension for name, dimension in space.dimensions.items() if dimension.size > 1}
        self._defaults = {
            name: dimension.nearest(space.reference[name]) for name, dimension in self._dimensions.items()
        }

    def points(self, configurations: Sequence[Config]) -> NDArray[np.float64]:
        """points_ND of N configurations."""
        rows = [
            [
                coordinate
                for name in self._dimensions
                for coordinate in self._coordinates(name, params.get(name, self._defaults[name]))
            ]
            for params in configurations
        ]
        return np.array(rows, dtype=np.float64).reshape(len(configurations), -1)

    def _coordinates(self, name: str, value: Scalar) -> list[float]:
        dimension = self._dimensions[name]
        if isinstance(dimension, Choice):
            return [0.5**0.5 * (value == choice) for choice in dimension.choices]
        return [share_of(dimension, value)]
