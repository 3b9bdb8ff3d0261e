"""Labels: is the price higher (up) or not (down) at each horizon."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import MASKED, Ties


def labels(
    price_T: NDArray[np.float64],
    observed_T: NDArray[np.bool_],
    horizons: Sequence[int],
    ties: Ties = "drop",
) -> NDArray[np.int8]:
    """y_TH: 1 if price[t+h] > price[t], else 0; MASKED where the series ends before t+h, where t or t+h is
    unobserved, and, unless ties are `down`, where both prices are equal.
    """
    minutes = len(price_T)
    y_TH = np.full((minutes, len(horizons)), MASKED, dtype=np.int8)
    for column, horizon in enumerate(horizons):
        if horizon >= minutes:
            continue
        now, later = price_T[:-horizon], price_T[horizon:]
        known = observed_T[:-horizon] & observed_T[horizon:]
        if ties == "drop":
            known = known & (now != later)
        y_TH[:-horizon, column] = np.where(known, later > now, MASKED)
    return y_TH
