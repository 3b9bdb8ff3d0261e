"""The only place that opens raw files: parquet or CSV in, bars on a whole minute grid out."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hybridtune.data.schema import PRICE_COLUMN, SMALLEST_PRICE, TIME_COLUMN, VOLUME_COLUMN, InputError, refuse_non_utf8
from hybridtune.data.text import cut, shown

SAVED_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")
"""Columns that pandas makes of a saved row number; no feature."""

MINUTE = 60
FEWEST_GAPS = 10
"""Between bars, from which on they tell how far apart the bars are."""


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


def extra_columns(path: Path) -> tuple[str, ...]:
    """Names of the columns beside time, price and volume, in order of name.

    Raises InputError if the file cannot be read, has two columns of one name, or lacks time or price.
    """
    with _refusing(path):
        return _extra_columns(path)


def time_span(path: Path) -> tuple[np.datetime64, np.datetime64] | None:
    """The minutes of the first and of the last row that has a time, whatever else it has; None if no row has one.

    Raises InputError as `read_series`.
    """
    with _refusing(path):
        minute = _times(_load(path, [TIME_COLUMN])[TIME_COLUMN], path).astype("datetime64[m]")
        minute = minute[~np.isnat(minute)]
        return (minute.min(), minute.max()) if len(minute) else None


def read_series(path: Path, extras: Sequence[str] = (), limit_minutes: int | None = None) -> Bars:
    """The bars of one file.

    Times without a zone are UTC; rows need no order; of several rows in one minute the last by time counts, of equal
    times the last row. `limit_minutes` keeps only the first so many minutes from launch.

    Raises InputError naming the file, what is wrong and how to mend it.
    """
    with _refusing(path):
        return _read_series(path, extras, limit_minutes)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """One file never ends the work on the others, whatever pandas, pyarrow or numpy raise on it: MemoryError,
    OverflowError and AssertionError were seen. Nothing here asserts, so none of our own invariants is hidden by it.
    """
    try:
        yield
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path} cannot be read (Permission denied): allow reading it") from None
    except Exception as error:
        what = str(error).strip().splitlines()
        raise InputError(
            f"{path} cannot be read ({cut(what[0]) if what else type(error).__name__}): it may be truncated or of "
            "another format, write it anew"
        ) from None


def _extra_columns(path: Path) -> tuple[str, ...]:
    refuse_non_utf8(path)
    names = [name for name in _column_names(path) if not SAVED_INDEX.fullmatch(name)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has column {shown(twice[0])} more than once: keep one of them")
    for required in (TIME_COLUMN, PRICE_COLUMN):
        if required not in names:
            raise InputError(
                f"{path} has no column '{required}': columns '{TIME_COLUMN}' and '{PRICE_COLUMN}' are required, "
                f"'{VOLUME_COLUMN}' is optional"
            )
    return tuple(sorted(set(names) - {TIME_COLUMN, PRICE_COLUMN, VOLUME_COLUMN}))


def _read_series(path: Path, extras: Sequence[str], limit_minutes: int | None) -> Bars:
    if missing := sorted(set(extras) - set(_extra_columns(path))):
        raise InputError(f"{path} has no column {shown(missing[0])}, which the other series have: add it")
    table = _load(path)
    if len(table) == 0:
        raise InputError(f"{path} has no rows: write bars to it or remove it")
    time = _times(table[TIME_COLUMN], path)
    minute = time.astype("datetime64[m]")
    price = _numbers(table, PRICE_COLUMN, path)
    volume = _numbers(table, VOLUME_COLUMN, path) if VOLUME_COLUMN in table else np.zeros(len(table))
    extra_RE = np.stack([_numbers(table, name, path) for name in extras], axis=1) if extras else None

    usable = ~np.isnat(minute) & np.isfinite(price) & (price >= SMALLEST_PRICE)
    if not usable.any():
        raise InputError(f"{path} has no usable row: a row needs a time and a finite price above zero")
    launch = minute[usable].min()
    position = (minute - launch).astype(np.int64)
    kept = usable if limit_minutes is None else usable & (position < limit_minutes)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(time[rows], kind="stable")]
    _refuse_spacing(time[rows], path)
    last_of_minute = np.append(np.diff(position[rows]) > 0, True)
    rows = rows[last_of_minute]
    return _on_grid(
        launch,
        position[rows],
        price[rows],
        np.where(np.isfinite(volume[rows]) & (volume[rows] > 0), volume[rows], 0.0),
        extra_RE[rows] if extra_RE is not None else np.empty((len(rows), 0)),
        unusable_rows=int((~usable).sum()),
        goes_on=bool(usable.sum() > kept.sum()),
    )


def _refuse_spacing(time_R: NDArray[np.datetime64], path: Path) -> None:
    """time_R: ascending. Minutes without a trade are usual; that all bars, or most, are equally far apart is not."""
    gaps = np.diff(time_R.astype("datetime64[s]")).astype(np.int64)
    if len(gaps) < FEWEST_GAPS:
        return
    values, counts = np.unique(gaps, return_counts=True)
    common, usual = int(np.gcd.reduce(values)), int(values[counts.argmax()])
    spacing = usual if counts.max() > len(gaps) / 2 else common
    if spacing > MINUTE or (0 < spacing < MINUTE and np.median(gaps) < MINUTE):
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
        extras_TE=_carried_forward(extra_RE)[row_T],
        unusable_rows=unusable_rows,
        goes_on=goes_on,
    )


def _carried_forward(extra_RE: NDArray[np.float64]) -> NDArray[np.float64]:
    """A gap in an extra column takes the last value known by then, before the first one zero."""
    finite = pd.DataFrame(np.where(np.isfinite(extra_RE), extra_RE, np.nan))
    return finite.ffill().fillna(0.0).to_numpy()


def _column_names(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        return list(pq.read_schema(path).names)
    # As a row of text, because pandas renames the second of two equal names of a header.
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    return [name or f"Unnamed: {index}" for index, name in enumerate(header)]


def _load(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """columns: None for all."""
    if path.suffix.lower() == ".csv":
        with warnings.catch_warnings():
            # A row with more fields than the header, such as one with decimal commas, would lose some.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, index_col=False, low_memory=False, usecols=columns)
    # A single file, never a dataset of the folder; extension types could run foreign code.
    file = pq.ParquetFile(path)
    for field in file.schema_arrow:
        if (columns is None or field.name in columns) and isinstance(field.type, pa.BaseExtensionType):
            raise InputError(f"{path}: column {shown(field.name)} has extension type {cut(str(field.type))}, "
                             "store it as plain numbers")  # fmt: skip
    table: pd.DataFrame = _decimals_as_floats(file.read(columns)).to_pandas(ignore_metadata=True)
    return table


def _decimals_as_floats(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
    return table


def _times(column: "pd.Series[pd.Timestamp]", path: Path) -> NDArray[np.datetime64]:
    remedy = "write times as timestamps or ISO 8601 text"
    if column.isna().all():
        raise InputError(f"{path}: column '{TIME_COLUMN}' is empty: {remedy}")
    if pd.api.types.is_numeric_dtype(column):
        first = column[column.notna()].iloc[0]
        raise InputError(f"{path}: column '{TIME_COLUMN}' holds numbers, got {first}: {remedy}")
    # pandas takes these two for the time of reading.
    if (spoken := column.isin(["now", "today"])).any():
        raise InputError(
            f"{path}: column '{TIME_COLUMN}' holds what is not a time ('{column[spoken].iloc[0]}'): {remedy}"
        )
    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        what = str(error).partition(". You might")[0]
        raise InputError(f"{path}: column '{TIME_COLUMN}' holds what is not a time ({cut(what)}): {remedy}") from None
    return times.dt.tz_localize(None).to_numpy()


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
