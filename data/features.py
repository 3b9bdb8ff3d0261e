"""Causal, scale-free features of one series. FEATURES documents each: formula, unit, range.

Shapes: T minutes from launch, F features. Every function maps a Series to one value a minute and uses
bars 0..t only for the value at t. "Past n" means the last n minutes up to and including t, or as many as
exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data.read import Bars

Values = NDArray[np.float64]

VOLUME_FLOOR = 0.001
"""Keeps the logarithm of a volume ratio finite: log(0.001 / 1.001) = -6.9 is "no volume at all"."""


class Series:
    """One series with what several features share."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.volume_T = bars.volume_T
        self.minute_T = np.arange(len(bars))

    @cached_property
    def log_price_T(self) -> Values:
        return np.log(self.bars.price_T)

    @cached_property
    def return_T(self) -> Values:
        """Log return of the minute; 0 at launch."""
        return np.diff(self.log_price_T, prepend=self.log_price_T[0])

    @cached_property
    def low_T(self) -> Values:
        return np.minimum.accumulate(self.log_price_T)

    @cached_property
    def high_T(self) -> Values:
        return np.maximum.accumulate(self.log_price_T)

    @cached_property
    def relative_volume_T(self) -> Values:
        """log((r + floor) / (1 + floor)), r = volume / mean volume since launch; 0 before any trade."""
        usual = _running_mean(self.volume_T, len(self.volume_T))
        traded = usual > 0
        ratio = np.where(traded, self.volume_T / np.where(traded, usual, 1.0), 1.0)
        return np.log((ratio + VOLUME_FLOOR) / (1 + VOLUME_FLOOR))


def log_return(s: Series, minutes: int) -> Values:
    since = np.maximum(s.minute_T - minutes, 0)
    before_T: Values = s.log_price_T[since]
    change_T: Values = s.log_price_T - before_T
    return change_T


def since_launch(s: Series) -> Values:
    return s.log_price_T - s.log_price_T[0]


def drawdown(s: Series) -> Values:
    return s.log_price_T - s.high_T


def run_up(s: Series) -> Values:
    return s.log_price_T - s.low_T


def position(s: Series) -> Values:
    span = s.high_T - s.low_T
    return np.where(span > 0, (s.log_price_T - s.low_T) / np.where(span > 0, span, 1.0), 0.5)


def volatility(s: Series, minutes: int) -> Values:
    return np.sqrt(np.maximum(_running_mean(s.return_T**2, minutes), 0.0))


def relative_volume(s: Series, minutes: int) -> Values:
    # The mean of logarithms, not the logarithm of the mean: volumes are close to lognormal, and one minute of
    # a thousandfold volume would hide all others for the length of the window.
    return _running_mean(s.relative_volume_T, minutes)


def up_share(s: Series, minutes: int) -> Values:
    return _running_mean((np.sign(s.return_T) + 1) / 2, minutes)


def flow(s: Series, minutes: int) -> Values:
    signed, total = _window_sum(np.sign(s.return_T) * s.volume_T, minutes), _window_sum(s.volume_T, minutes)
    return np.where(total > 0, signed / np.where(total > 0, total, 1.0), 0.0).astype(np.float64)


def staleness(s: Series) -> Values:
    return np.log1p(s.bars.staleness_T)


def age(s: Series) -> Values:
    return np.log1p(s.minute_T)


def time_of_day(s: Series, wave: Callable[[Values], Values]) -> Values:
    first = (s.bars.start - s.bars.start.astype("datetime64[D]")).astype(np.int64)
    return wave(2 * np.pi * ((first + s.minute_T) % 1440) / 1440)


@dataclass(frozen=True)
class Feature:
    name: str
    formula: str
    unit: str
    range: str
    compute: Callable[[Series], Values]


def _returns(minutes: int) -> Feature:
    formula = f"log price[t] - log price[t-{minutes}], from launch where t < {minutes}"
    return Feature(f"return_{minutes}", formula, "log", "any", partial(log_return, minutes=minutes))


def _volatility(minutes: int) -> Feature:
    formula = f"root mean square of the minute's log return over the past {minutes}"
    return Feature(f"volatility_{minutes}", formula, "log per minute", ">= 0", partial(volatility, minutes=minutes))


def _relative_volume(minutes: int) -> Feature:
    formula = f"mean over the past {minutes} of log((r + 0.001) / 1.001), r = volume / mean volume since launch"
    compute = partial(relative_volume, minutes=minutes)
    return Feature(f"volume_{minutes}", formula, "log", ">= -6.91", compute)


def _up_share(minutes: int) -> Feature:
    formula = f"share of rising minutes in the past {minutes}, an unchanged one counts half"
    return Feature(f"up_share_{minutes}", formula, "share", "0..1", partial(up_share, minutes=minutes))


FEATURES: tuple[Feature, ...] = (
    *(_returns(n) for n in (1, 3, 5, 15, 60, 240)),
    Feature("since_launch", "log price[t] - log price[0]", "log", "any", since_launch),
    Feature("drawdown", "log price[t] - highest log price since launch", "log", "<= 0", drawdown),
    Feature("run_up", "log price[t] - lowest log price since launch", "log", ">= 0", run_up),
    Feature("position", "run_up / (highest - lowest log price), 0.5 where flat", "share", "0..1", position),
    *(_volatility(n) for n in (15, 60, 240)),
    *(_relative_volume(n) for n in (1, 15, 60, 240)),
    *(_up_share(n) for n in (15, 60)),
    Feature("flow_15", "sum(sign(return) * volume) / sum(volume) over the past 15, 0 without volume",
            "share", "-1..1", partial(flow, minutes=15)),
    Feature("staleness", "log(1 + minutes since the last observed bar)", "log minutes", ">= 0", staleness),
    Feature("age", "log(1 + minutes since launch)", "log minutes", ">= 0", age),
    Feature("time_sin", "sine of the UTC time of day", "1", "-1..1", partial(time_of_day, wave=np.sin)),
    Feature("time_cos", "cosine of the UTC time of day", "1", "-1..1", partial(time_of_day, wave=np.cos)),
)  # fmt: skip

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)


def features(bars: Bars, extras: Sequence[str] = ()) -> NDArray[np.float32]:
    """x_TF float32: FEATURES in order, then the extra columns as they are, all finite."""
    assert bars.extras_TE.shape[1] == len(extras)
    series = Series(bars)
    columns = [feature.compute(series) for feature in FEATURES]
    largest = np.finfo(np.float32).max
    x_TF = np.column_stack([*columns, bars.extras_TE]).clip(-largest, largest).astype(np.float32)
    assert np.isfinite(x_TF).all()
    return x_TF


def _window_sum(values_T: Values, minutes: int) -> NDArray[np.longdouble]:
    """Sum of the past `minutes`, without what a difference of running sums keeps of values long past."""
    padded = np.pad(values_T, (minutes - 1, 0))
    total_T: NDArray[np.longdouble] = sliding_window_view(padded, minutes).sum(axis=1, dtype=np.longdouble)
    return total_T


def _running_mean(values_T: Values, minutes: int) -> Values:
    """Mean of the past `minutes`. Sums in extended precision: a volume may drop by ten decades; what rounding
    remains can leave the mean of values >= 0 a hair below zero.
    """
    total_T = np.cumsum(values_T, dtype=np.longdouble)
    before_T = np.zeros_like(total_T)
    before_T[minutes:] = total_T[:-minutes] if minutes < len(total_T) else 0
    count_T = np.minimum(np.arange(1, len(total_T) + 1), minutes)
    return ((total_T - before_T) / count_T).astype(np.float64)
