"""A series on the minute grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bars:
    """One series from its launch (minute 0) on the minute grid.

    A minute without a usable bar carries the last price, zero volume and the last extra values; it is
    not `observed`. `staleness_T` counts the minutes since the last observed bar (0 where observed).
    """

    start: np.datetime64
    price_T: NDArray[np.float64]
    volume_T: NDArray[np.float64]
    observed_T: NDArray[np.bool_]
    staleness_T: NDArray[np.int64]
    extras_TE: NDArray[np.float64]
    unusable_rows: int
    """Rows dropped: no time, or a price that is not a finite number above zero."""
    goes_on: bool
    """Whether there are bars after the minutes that were asked for."""

    def __len__(self) -> int:
        return len(self.price_T)

    def minute_of_bar(self, number: int) -> int:
        """The minute of the so manieth observed bar, counted from 1; the length of the series if it has fewer."""
        minutes = np.flatnonzero(self.observed_T)
        return int(minutes[number - 1]) if number <= len(minutes) else len(self)
