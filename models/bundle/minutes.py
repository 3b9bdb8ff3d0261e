"""At which minutes of a series a prediction is requested."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import InputError


@dataclass(frozen=True)
class Every:
    """Every `stride`-th minute from the first with enough history."""

    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise InputError(f"stride must be at least 1 minute, got {self.stride}")


@dataclass(frozen=True)
class Last:
    """The last minute of each series."""


@dataclass(frozen=True)
class At:
    """These minutes after launch, in any order."""

    minutes: tuple[int, ...]


Requested = Every | Last | At

EVERY_MINUTE = Every()


def refuse_outside(requested: Requested, first: int, last: int) -> None:
    """Raises InputError for a minute at which nothing is predicted, whatever the series."""
    for minute in requested.minutes if isinstance(requested, At) else ():
        if not first <= minute <= last:
            raise InputError(f"minutes must lie within {first}..{last}, where this bundle predicts, got {minute}")


def chosen(requested: Requested, minute_K: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Those of the minutes of a series (ascending) that are requested; strides are counted from `first`."""
    match requested:
        case Every(stride):
            on_stride_K: NDArray[np.bool_] = (minute_K - first) % stride == 0
            return minute_K[on_stride_K]
        case Last():
            return minute_K[-1:]
        case At(minutes):
            return minute_K[np.isin(minute_K, minutes)]
