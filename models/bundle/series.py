"""One series of a prediction: what is read of its file, at which minutes, and what is predicted there.

Shapes: T minutes, F features, K predicted minutes, H horizons.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.columns import Columns
from hybridtune.data.features import features
from hybridtune.data.find import SeriesFile
from hybridtune.data.read import read_series
from hybridtune.data.schema import InputError
from hybridtune.models.bundle.attention import AnchorAttention
from hybridtune.models.bundle.minutes import Requested, chosen


@dataclass(frozen=True, kw_only=True)
class RequestedSeries:
    """A series and the minutes at which it is predicted."""

    file: SeriesFile
    start: np.datetime64
    price_T: NDArray[np.float64]
    """Since launch; may reach one minute beyond the last that can be predicted from."""
    minute_K: NDArray[np.int64]
    """Minutes since launch, ascending."""
    problem: str | None = None
    """Why no minute can be predicted: the file is unreadable, the series too short, or not observed there."""
    goes_on: bool = False
    """Whether the series has bars after the last minute that can be predicted from."""


@dataclass(frozen=True)
class SeriesPrediction:
    """p_KH: probability that the price is higher h minutes after each of the series' minutes; spread_KH: the standard
    deviation over the members, as they are weighed.
    """

    series: RequestedSeries
    p_KH: NDArray[np.float64]
    spread_KH: NDArray[np.float64]
    attention_K: tuple[AnchorAttention, ...] = ()
    """One for each predicted minute where attention was requested, else none."""

    def frame(self, horizons: tuple[int, ...]) -> pd.DataFrame:
        """One row for each minute and horizon."""
        count, minute_K = len(horizons), self.series.minute_K
        times_K = self.series.start.astype("datetime64[us]") + minute_K * np.timedelta64(60_000_000, "us")
        return pd.DataFrame(
            {
                "series": self.series.file.name,
                "minute": np.repeat(minute_K, count).astype(np.int32),
                "datetime": np.repeat(times_K, count),
                "horizon": np.tile(np.array(horizons, dtype=np.int32), len(minute_K)),
                "probability": self.p_KH.reshape(-1),
                "spread": self.spread_KH.reshape(-1),
            }
        )


def read_requested(
    file: SeriesFile,
    columns: Columns,
    extras: tuple[str, ...],
    expanding_min: int,
    expanding_max: int,
    requested: Requested,
) -> tuple[RequestedSeries, NDArray[np.float32]]:
    """The series and its features x_TF; a file that cannot be read gives a problem and no bars."""
    try:
        # One minute more than is used shows whether the series goes on.
        bars = read_series(file, columns, extras, limit_minutes=expanding_max + 1)
    except InputError as error:
        unread = RequestedSeries(
            file=file,
            start=np.datetime64(0, "m"),
            price_T=np.empty(0),
            minute_K=np.empty(0, dtype=np.int64),
            problem=str(error),
        )
        return unread, np.empty((0, 0), dtype=np.float32)
    first = expanding_min - 1
    observed_K = np.arange(bars.minute_of_bar(expanding_min), min(len(bars), expanding_max))
    observed_K = observed_K[bars.observed_T[observed_K]]
    minute_K = chosen(requested, observed_K, first)
    problem = None
    if (observed := int(bars.observed_T.sum())) < expanding_min:
        problem = f"{file.path} has {observed} bars in {len(bars)} minutes, a prediction needs {expanding_min}"
    elif not len(observed_K):
        problem = f"{file.path} has no observed minute from {first} to {expanding_max - 1} after launch"
    elif not len(minute_K):
        problem = f"{file.path} has no observed minute among those requested, its last is {observed_K[-1]}"
    series = RequestedSeries(
        file=file,
        start=bars.start,
        price_T=bars.price_T,
        minute_K=minute_K,
        problem=problem,
        goes_on=len(bars) > expanding_max,
    )
    return series, features(bars, extras)
