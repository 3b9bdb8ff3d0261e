"""The four slices, cut by launch time, and the purge between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import SLICES, InputError, SliceName
from hybridtune.data.shortage import empty_slice

PURGED = -1


@dataclass(frozen=True)
class Shares:
    """Share of the launches that each slice takes, in order of launch time; they sum to one."""

    train: float = 0.6
    tune: float = 0.15
    blend: float = 0.1
    test: float = 0.15

    def __post_init__(self) -> None:
        shares = self.as_tuple()
        if not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-6):
            raise InputError(f"the four slice shares must be above 0 and sum to 1, got {shares}")

    @classmethod
    def parse(cls, text: str) -> "Shares":
        """From `0.6/0.15/0.1/0.15`."""
        try:
            train, tune, blend, test = (float(part) for part in text.split("/"))
        except ValueError:
            raise InputError(f"slices must be four shares like 0.6/0.15/0.1/0.15, got {text!r}") from None
        return cls(train, tune, blend, test)

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.train, self.tune, self.blend, self.test)


@dataclass(frozen=True)
class Split:
    """slice_M: index into SLICES of every series, or PURGED; cut_M: the slice it was cut into before the
    purge.
    """

    slice_M: NDArray[np.int8]
    cut_M: NDArray[np.int8]

    def purged_from(self, name: SliceName) -> int:
        index = SLICES.index(name)
        return int(((self.cut_M == index) & (self.slice_M == PURGED)).sum())


def split(start_M: NDArray[np.datetime64], last_M: NDArray[np.datetime64], shares: Shares) -> Split:
    """Cuts the launches into the four slices and purges what reaches into a later one.

    start_M, last_M: time of the first bar and of the last bar that a feature or a label of the series
    uses. Launches of the same minute stay together. A series is purged if its last bar is not before the
    first launch of the next slice; that launch is the earliest of all that follow.

    Raises InputError if a slice ends up empty.
    """
    result = _cut_and_purge(start_M, last_M, shares.as_tuple())
    _refuse_empty(result, last_M - start_M + 1, SLICES)
    return result


def earlier_folds(
    start_M: NDArray[np.datetime64], last_M: NDArray[np.datetime64], shares: Shares, folds: int
) -> list[Split]:
    """Train and tune of the walk-forward folds before the last one, which `split` itself gives.

    Their origin lies one tune share after another earlier: a fold trains on all launches before its origin and is
    scored on the tune share after it (Bergmeir and Benitez 2012, rolling-origin evaluation with blocks). What
    follows belongs to no slice of that fold. Purged as `split` does.

    Raises InputError if the train share is used up or a slice ends up empty.
    """
    result = []
    for back in range(folds - 1, 0, -1):
        train = shares.train - back * shares.tune
        if train <= 1e-9:
            raise InputError(
                f"{folds} folds need a train share above {folds - 1} tune shares, got train={shares.train} and "
                f"tune={shares.tune}: ask for fewer --folds or other --slices"
            )
        cut = _cut_and_purge(start_M, last_M, (train, shares.tune, 1 - train - shares.tune))
        later = cut.cut_M == 2
        fold = Split(np.where(later, PURGED, cut.slice_M).astype(np.int8), cut.cut_M)
        _refuse_empty(fold, last_M - start_M + 1, SLICES[:2], f" of fold {folds - back} of {folds}")
        result.append(fold)
    return result


def _cut_and_purge(start_M: NDArray[np.datetime64], last_M: NDArray[np.datetime64], shares: Sequence[float]) -> Split:
    assert len(start_M) == len(last_M)
    firsts = _first_launches(np.sort(start_M), shares)
    cut_M = np.searchsorted(np.array(firsts[1:]), start_M, side="right").astype(np.int8)
    is_last_M = cut_M == len(firsts) - 1
    next_first_M = np.array([*firsts[1:], firsts[-1]])[cut_M]
    return Split(np.where((last_M < next_first_M) | is_last_M, cut_M, PURGED).astype(np.int8), cut_M)


def _first_launches(sorted_start_M: NDArray[np.datetime64], shares: Sequence[float]) -> list[np.datetime64]:
    """First launch of each slice, in time's order."""
    cuts = np.round(np.cumsum([0.0, *shares[:-1]]) * len(sorted_start_M)).astype(int)
    return [sorted_start_M[min(cut, len(sorted_start_M) - 1)].astype("datetime64[m]") for cut in cuts]


def _refuse_empty(
    result: Split, length_M: NDArray[np.timedelta64], names: Sequence[SliceName], of_fold: str = ""
) -> None:
    series = len(length_M)
    for index, name in enumerate(names):
        if not (result.slice_M == index).any():
            cut_into = int((result.cut_M == index).sum())
            slices_help = len(SLICES) <= series and cut_into < series
            minutes_M = length_M.astype("timedelta64[m]").astype(np.int64)
            raise InputError(empty_slice(f"slice '{name}'{of_fold}", cut_into, minutes_M, bool(of_fold), slices_help))
