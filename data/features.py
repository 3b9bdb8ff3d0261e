"""Causal, scale-free features of one series. FEATURES documents each: formula, unit, range.

Shapes: T minutes from launch, F features. Every function maps a Series to one value a minute and uses
bars 0..t only for the value at t. "Past n" means the last n minutes up to and including t, or as many as
exist.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.bars import Bars
from hybridtune.data.schema import SMALLEST_PRICE

Values = NDArray[np.float64]

VOLUME_FLOOR = 0.001
"""Share of the mean volume that stands in for none, so that its logarithm is finite."""

SMALLEST_VOLUME = 1e-200
"""A mean volume below it is no trade: its floor would underflow to zero."""

LARGEST_VOLUME = 1e300
"""A volume above it is cut to it: sums of volumes would overflow."""


FIXED_MINUTES, LOOKED_AT, ROUNDED_TO = 250, (7, 68, 131, 249), 1e-3
"""Of the series that tells one version's formulas from another's."""


class Series:
    """One series with what several features share."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.volume_T = np.minimum(bars.volume_T, LARGEST_VOLUME)
        self.minute_T = np.arange(len(bars))

    @cached_property
    def log_price_T(self) -> Values:
        return np.log(np.maximum(self.bars.price_T, SMALLEST_PRICE))

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
        """l[t] less its mean since launch, l = log(volume + floor * mean volume since launch); 0 before any trade.

        Logarithms, because volumes are close to lognormal: one minute of a thousandfold volume moves a mean of
        volumes for hours, a mean of their logarithms hardly.
        """
        mean_T = np.maximum(_running_mean(self.volume_T, len(self.volume_T)), 0.0)
        traded_T = mean_T > SMALLEST_VOLUME
        first = int(np.argmax(traded_T)) if traded_T.any() else len(mean_T)
        relative_T = np.zeros(len(mean_T))
        log_T = np.log(self.volume_T[first:] + VOLUME_FLOOR * mean_T[first:])
        relative_T[first:] = log_T - _running_mean(log_T, len(log_T))
        return relative_T


def log_return(s: Series, minutes: int) -> Values:
    before_T: Values = s.log_price_T[np.maximum(s.minute_T - minutes, 0)]
    return s.log_price_T - before_T


def since_launch(s: Series) -> Values:
    return log_return(s, len(s.bars))


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
    return _running_mean(s.relative_volume_T, minutes)


def up_share(s: Series, minutes: int) -> Values:
    return _running_mean((np.sign(s.return_T) + 1) / 2, minutes)


def pressure(s: Series, minutes: int) -> Values:
    scale = np.sqrt(np.maximum(_running_mean(s.return_T**2, len(s.return_T)), 0.0))
    standardised = np.where(scale > 0, s.return_T / np.where(scale > 0, scale, 1.0), 0.0).clip(-5.0, 5.0)
    return _running_mean(standardised * s.relative_volume_T, minutes)


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
    formula = f"mean over the past {minutes} of l - its mean since launch, l = log(volume + 0.001 * mean since launch)"
    return Feature(f"volume_{minutes}", formula, "log", "any", partial(relative_volume, minutes=minutes))


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
    Feature(
        "pressure_15",
        "mean over the past 15 of z * volume_1, z = return_1 / its root mean square since launch, cut at 5",
        "log",
        "any",
        partial(pressure, minutes=15),
    ),
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


@cache
def formulas_digest() -> str:
    """Of the computed features of a fixed series: it changes with any of their formulas, and not with the machine.

    The values are rounded, as the last bits of a logarithm differ from one processor to another.
    """
    x_TF = features(_fixed_bars())[list(LOOKED_AT)]
    return hashlib.sha256(np.round(x_TF / ROUNDED_TO).astype(np.int32).tobytes()).hexdigest()[:16]


def _fixed_bars() -> Bars:
    """Rises, falls, gaps, minutes without volume, longer than the longest mean."""
    minute_T = np.arange(FIXED_MINUTES)
    observed_T = (minute_T * 7) % 11 != 3
    last_T = np.maximum.accumulate(np.where(observed_T, minute_T, 0))
    price_T = 1 + ((last_T * 37) % 101) / 50 + (last_T % 60) / 30
    return Bars(
        start=np.datetime64("2025-01-01T05:07", "m"),
        price_T=price_T,
        volume_T=np.where(observed_T, ((minute_T * 53) % 97) ** 2 / 7.0, 0.0),
        observed_T=observed_T,
        staleness_T=minute_T - last_T,
        extras_TE=np.empty((FIXED_MINUTES, 0)),
        unusable_rows=0,
        goes_on=False,
    )


def _running_mean(values_T: Values, minutes: int) -> Values:
    """Mean of the past `minutes`. Sums in extended precision: a volume may drop by ten decades; what rounding
    remains can leave the mean of values >= 0 a hair below zero.
    """
    total_T = np.cumsum(values_T, dtype=np.longdouble)
    before_T = np.zeros_like(total_T)
    before_T[minutes:] = total_T[:-minutes] if minutes < len(total_T) else 0
    count_T = np.minimum(np.arange(1, len(total_T) + 1), minutes)
    return ((total_T - before_T) / count_T).astype(np.float64)
