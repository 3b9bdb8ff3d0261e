"""A series as it was recorded -> its bars on a whole minute grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.bars import Bars
from hybridtune.data.columns import Columns
from hybridtune.data.find import SeriesFile
from hybridtune.data.schema import SMALLEST_PRICE, InputError
from hybridtune.data.tables import column_names, load, refusing
from hybridtune.data.text import cut, shown

EPOCHS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units of times that are numbers, since 1970: so many a second."""
EARLIEST, LATEST = 600_000_000, 5_000_000_000
"""Seconds since 1970, 1989 to 2128, by which the units tell themselves apart."""

MINUTE = 60
MOST_AT_ONCE = 2
"""Rows of one time, on average: a bar may have been recorded again."""
FEWEST_GAPS = 10
"""Between bars, from which on they tell how far apart the bars are."""


def time_span(file: SeriesFile, columns: Columns) -> tuple[np.datetime64, np.datetime64] | None:
    """The minutes of the first and of the last row that is a bar; None if none is.

    Raises InputError as `read_series`.
    """
    with refusing(file.path):
        table = load(file, [columns.time, columns.price])
        time = _times(table[columns.time], file.path)
        time = np.sort(time[_usable(time, _numbers(table, columns.price, file.path))])
        _refuse_spacing(time, file.path)
        minute = time.astype("datetime64[m]")
        return (minute[0], minute[-1]) if len(minute) else None


def read_series(
    file: SeriesFile, columns: Columns, extras: Sequence[str] = (), limit_minutes: int | None = None
) -> Bars:
    """The bars of one series.

    Times without a zone are UTC; numbers are the time since 1970, in a unit that they tell themselves. Rows need no
    order; of several rows in one minute the last by time counts, of equal times the last row. extras: features beside
    price and volume, the ratios of `columns` or further columns. `limit_minutes` keeps only the first so many minutes
    from launch.

    Raises InputError naming the file, what is wrong and how to mend it.
    """
    with refusing(file.path):
        return _read_series(file, columns, extras, limit_minutes)


def _read_series(file: SeriesFile, columns: Columns, extras: Sequence[str], limit_minutes: int | None) -> Bars:
    path, names = file.path, column_names(file)
    wanted = [name for name in extras if name not in columns.ratios]
    if missing := sorted({*columns.used - {columns.id}, *wanted} - {*names}):
        raise InputError(f"{path} has no column {shown(missing[0])}, which the other series have: add it")
    table = load(file)
    if len(table) == 0:
        raise InputError(f"{path} has no rows: write bars to it or remove it")
    time = _times(table[columns.time], path)
    minute = time.astype("datetime64[m]")
    price = _numbers(table, columns.price, path)
    volume = _numbers(table, columns.volume, path) if columns.volume is not None else np.zeros(len(table))
    ratio_RE = _stacked([_numbers(table, columns.of(name), path) for name in columns.ratios], len(table))
    extra_RE = _stacked([_numbers(table, name, path) for name in wanted], len(table))

    usable = _usable(time, price)
    if not usable.any():
        raise InputError(f"{path} has no usable row: a row needs a time and a finite price above zero")
    _refuse_spacing(np.sort(time[usable]), path)
    launch = minute[usable].min()
    position = (minute - launch).astype(np.int64)
    kept = usable if limit_minutes is None else usable & (position < limit_minutes)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(time[rows], kind="stable")]
    last_of_minute = np.append(np.diff(position[rows]) > 0, True)
    rows = rows[last_of_minute]
    return _on_grid(
        launch,
        position[rows],
        price[rows],
        np.where(np.isfinite(volume[rows]) & (volume[rows] > 0), volume[rows], 0.0),
        _log_ratios(ratio_RE[rows], price[rows]),
        extra_RE[rows],
        unusable_rows=int((~usable).sum()),
        goes_on=bool(usable.sum() > kept.sum()),
    )


def _usable(time_R: NDArray[np.datetime64], price_R: NDArray[np.float64]) -> NDArray[np.bool_]:
    usable_R: NDArray[np.bool_] = ~np.isnat(time_R) & np.isfinite(price_R) & (price_R >= SMALLEST_PRICE)
    return usable_R


def _stacked(columns: Sequence[NDArray[np.float64]], rows: int) -> NDArray[np.float64]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))


def _log_ratios(values_RE: NDArray[np.float64], price_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 where a value is no price."""
    good = np.isfinite(values_RE) & (values_RE >= SMALLEST_PRICE)
    logs: NDArray[np.float64] = np.log(np.where(good, values_RE, 1.0)) - np.log(price_R)[:, None]
    return np.where(good, logs, 0.0)


def _refuse_spacing(time_R: NDArray[np.datetime64], path: Path) -> None:
    """time_R: ascending. Minutes without a trade are usual; that all bars, or most, are equally far apart is not.
    Rows of one time are one bar.
    """
    times = np.unique(time_R.astype("datetime64[s]"))
    gaps = np.diff(times).astype(np.int64)
    if len(gaps) < FEWEST_GAPS:
        return
    if len(time_R) > MOST_AT_ONCE * len(times):
        raise InputError(
            f"{path} has {len(time_R) / len(times):.0f} rows at the same time, as trades of one block: "
            "write one-minute bars"
        )
    values, counts = np.unique(gaps, return_counts=True)
    common, usual = int(np.gcd.reduce(values)), int(values[counts.argmax()])
    spacing = usual if counts.max() > len(gaps) / 2 else common
    if spacing > MINUTE or (spacing < MINUTE and np.median(gaps) < MINUTE):
        raise InputError(f"{path} has bars {_spoken(spacing)} apart: write one-minute bars")


def _spoken(seconds: int) -> str:
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} seconds"


def _on_grid(
    launch: np.datetime64,
    position_R: NDArray[np.int64],
    price_R: NDArray[np.float64],
    volume_R: NDArray[np.float64],
    ratio_RE: NDArray[np.float64],
    extra_RE: NDArray[np.float64],
    unusable_rows: int,
    goes_on: bool,
) -> Bars:
    minutes_T = np.arange(position_R[-1] + 1)
    row_T = np.searchsorted(position_R, minutes_T, side="right") - 1
    observed_T = position_R[row_T] == minutes_T
    return Bars(
        start=launch,
        price_T=price_R[row_T],
        volume_T=np.where(observed_T, volume_R[row_T], 0.0),
        observed_T=observed_T,
        staleness_T=minutes_T - position_R[row_T],
        # Without a trade, the minute opens and closes at one price.
        extras_TE=np.column_stack(
            [np.where(observed_T[:, None], ratio_RE[row_T], 0.0), _carried_forward(extra_RE)[row_T]]
        ),
        unusable_rows=unusable_rows,
        goes_on=goes_on,
    )


def _carried_forward(extra_RE: NDArray[np.float64]) -> NDArray[np.float64]:
    """A gap in an extra column takes the last value known by then, before the first one zero."""
    finite = pd.DataFrame(np.where(np.isfinite(extra_RE), extra_RE, np.nan))
    return finite.ffill().fillna(0.0).to_numpy()


def _times(column: "pd.Series[pd.Timestamp]", path: Path) -> NDArray[np.datetime64]:
    remedy = "write times as timestamps, ISO 8601 text, or numbers since 1970 in one unit"
    name = shown(column.name)
    if column.isna().all():
        raise InputError(f"{path}: column {name} is empty: {remedy}")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _since_1970(column, path, remedy)
    # pandas takes these two for the time of reading.
    if (spoken := column.isin(["now", "today"])).any():
        raise InputError(f"{path}: column {name} holds what is not a time ('{column[spoken].iloc[0]}'): {remedy}")
    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        what = str(error).partition(". You might")[0]
        raise InputError(f"{path}: column {name} holds what is not a time ({cut(what)}): {remedy}") from None
    return times.dt.tz_localize(None).to_numpy()


def _since_1970(column: "pd.Series[pd.Timestamp]", path: Path, remedy: str) -> NDArray[np.datetime64]:
    known = column.dropna().to_numpy(dtype=np.float64)
    units = [name for name, scale in EPOCHS.items() if ((known >= EARLIEST * scale) & (known < LATEST * scale)).any()]
    if len(units) > 1:
        raise InputError(f"{path}: column {shown(column.name)} holds {' and '.join(units)} since 1970: {remedy}")
    scale = EPOCHS[units[0]] if units else 1
    if (wrong := ~((known >= EARLIEST * scale) & (known < LATEST * scale))).any():
        raise InputError(f"{path}: column {shown(column.name)} holds what is not a time ({known[wrong][0]}): {remedy}")
    seconds = column.to_numpy(dtype=np.float64, na_value=np.nan) / scale
    whole = np.where(np.isfinite(seconds), np.floor(np.nan_to_num(seconds) * 1e6), np.iinfo(np.int64).min)
    return whole.astype(np.int64).astype("datetime64[us]")


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    column = table[name]
    if column.isna().all():
        return np.full(len(column), np.nan)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    as_number = pd.to_numeric(column, errors="coerce")
    known = column[column.notna()]
    wrong = known[as_number[known.index].isna()]
    # pandas leaves a column of a CSV as text for the sake of one whole number beyond 64 bits, such as an amount in wei.
    if path.suffix.lower() == ".csv" and not len(wrong) and not pd.api.types.is_bool_dtype(column):
        return as_number.to_numpy(dtype=np.float64, na_value=np.nan)
    row = (wrong if len(wrong) else known).index[0]
    raise InputError(
        f"{path}: column {shown(name)} must hold numbers, got {shown(column[row])} in row {row}: write a number "
        "there or leave it empty"
    )
