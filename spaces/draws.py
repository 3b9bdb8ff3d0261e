"""Random configurations of a space: anywhere, or near one that is known; and its ranges as shares of one."""

import math

import numpy as np

from hybridtune.spaces.parameters import Choice, Config, Dimension, Float, Int, Scalar, Space

REDRAWN = 0.5
"""Share of the dimensions that a configuration near another one has drawn anew."""
WIDTH = 0.2
"""Standard deviation of such a draw, as a share of the range."""


def anywhere(space: Space, rng: np.random.Generator) -> Config:
    """Uniform in every dimension, log ranges in their logarithm."""
    params: Config = {}
    for name, dimension in space.dimensions.items():
        if space.active(name, params):
            params[name] = _any_value(dimension, rng)
    return params


def near(space: Space, centre: Config, rng: np.random.Generator) -> Config:
    """A neighbour of `centre`: each dimension is drawn anew with probability REDRAWN, a range around the value that it
    had, a choice at random. Dimensions that the centre lacks begin at their defaults.
    """
    params: Config = {}
    for name, dimension in space.dimensions.items():
        if not space.active(name, params):
            continue
        value = dimension.nearest(centre.get(name, space.reference[name]))
        if rng.random() < REDRAWN:
            if isinstance(dimension, Choice):
                value = _any_value(dimension, rng)
            else:
                value = from_share(dimension, share_of(dimension, value) + WIDTH * rng.standard_normal())
        params[name] = value
    return params


def share_of(dimension: Float | Int, value: Scalar) -> float:
    """Where a value lies in its range, 0 at the low and 1 at the high end; in its logarithm if the range is log."""
    if dimension.low == dimension.high:
        return 0.0
    if isinstance(dimension, Float) and dimension.log:
        return math.log(float(value) / dimension.low) / math.log(dimension.high / dimension.low)
    return (float(value) - dimension.low) / (dimension.high - dimension.low)


def from_share(dimension: Float | Int, share: float) -> Scalar:
    """The value there; the nearest end of the range for a share outside 0..1."""
    share = min(max(share, 0.0), 1.0)
    if isinstance(dimension, Float) and dimension.log:
        return dimension.nearest(dimension.low * (dimension.high / dimension.low) ** share)
    return dimension.nearest(dimension.low + share * (dimension.high - dimension.low))


def _any_value(dimension: Dimension, rng: np.random.Generator) -> Scalar:
    if isinstance(dimension, Float):
        return from_share(dimension, rng.random())
    return dimension.values[int(rng.integers(len(dimension.values)))]
