"""The only place that opens raw files: parquet or CSV in, bars on a whole minute grid out."""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.schema import PRICE_COLUMN, SMALLEST_PRICE, TIME_COLUMN, VOLUME_COLUMN, InputError

SUFFIXES = (".parquet", ".csv")
SAVED_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")
"""Columns that pandas makes of a saved row number; no feature."""


@dataclass(frozen=True)
class SeriesFile:
    """Where one token's bars lie. The folder it lies in, if below the raw folder, is its category."""

    path: Path
    name: str
    category: str


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

    def __len__(self) -> int:
        return len(self.price_T)


def find_series(folder: Path) -> list[SeriesFile]:
    """Every series file below `folder`, in a fixed order. Raises InputError if there is none."""
    if not folder.exists():
        raise InputError(f"{folder} does not exist: name a folder of <token>.parquet or <token>.csv files")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder that holds the series files")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    # Editors and systems keep copies in hidden folders.
    paths = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not paths:
        raise InputError(f"{folder} holds no .parquet or .csv file: one file a token is expected")
    return [SeriesFile(p, p.stem, "" if p.parent == folder else p.parent.name) for p in paths]


def extra_columns(path: Path) -> tuple[str, ...]:
    """Names of the columns beside time, price and volume, in order of name.

    Raises InputError if the file cannot be read or lacks time or price.
    """
    refuse_unprintable(path)
    names = {name for name in _column_names(path) if not SAVED_INDEX.fullmatch(name)}
    for required in (TIME_COLUMN, PRICE_COLUMN):
        if required not in names:
            raise InputError(
                f"{path} has no column '{required}': columns '{TIME_COLUMN}' and '{PRICE_COLUMN}' are required, "
                f"'{VOLUME_COLUMN}' is optional"
            )
    return tuple(sorted(names - {TIME_COLUMN, PRICE_COLUMN, VOLUME_COLUMN}))


def by_name(files: Sequence[SeriesFile]) -> tuple[list[SeriesFile], list[SeriesFile]]:
    """The first file of each name, and those whose name another has already: a name stands for one series."""
    first: dict[str, SeriesFile] = {}
    for file in files:
        first.setdefault(file.name, file)
    return list(first.values()), [file for file in files if first[file.name] is not file]


def same_name(file: SeriesFile) -> str:
    return f"{printable(file.path)}: another file is named {file.name} too, rename one"


def printable(path: Path) -> str:
    """The path as text that any file can hold."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def refuse_unprintable(path: Path) -> None:
    if printable(path) != str(path):
        raise InputError(f"{printable(path)}: the name is not UTF-8, rename the file")


def read_series(path: Path, extras: Sequence[str] = (), limit_minutes: int | None = None) -> Bars:
    """The bars of one file.

    Times without a zone are UTC; rows need no order; of several rows in one minute the last counts.
    `limit_minutes` keeps only the first so many minutes from launch.

    Raises InputError naming the file, what is wrong and how to mend it.
    """
    if missing := sorted(set(extras) - set(extra_columns(path))):
        raise InputError(f"{path} has no column '{missing[0]}', which the other series have: add it")
    table = _load(path)
    if len(table) == 0:
        raise InputError(f"{path} has no rows")
    minute = _minutes(table[TIME_COLUMN], path)
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
    rows = rows[np.argsort(minute[rows], kind="stable")]
    last_of_minute = np.append(np.diff(position[rows]) > 0, True)
    rows = rows[last_of_minute]
    return _on_grid(
        launch,
        position[rows],
        price[rows],
        np.where(np.isfinite(volume[rows]) & (volume[rows] > 0), volume[rows], 0.0),
        extra_RE[rows] if extra_RE is not None else np.empty((len(rows), 0)),
        unusable_rows=int((~usable).sum()),
    )


def _on_grid(
    launch: np.datetime64,
    position_R: NDArray[np.int64],
    price_R: NDArray[np.float64],
    volume_R: NDArray[np.float64],
    extra_RE: NDArray[np.float64],
    unusable_rows: int,
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
    )


def _carried_forward(extra_RE: NDArray[np.float64]) -> NDArray[np.float64]:
    """A gap in an extra column takes the last value known by then, before the first one zero."""
    finite = pd.DataFrame(np.where(np.isfinite(extra_RE), extra_RE, np.nan))
    return finite.ffill().fillna(0.0).to_numpy()


def _column_names(path: Path) -> list[str]:
    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        return list(pd.read_csv(path, nrows=0).columns)
    except (pa.ArrowException, OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _unreadable(path, error) from None


def _load(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            with warnings.catch_warnings():
                # A row with more fields than the header, such as one with decimal commas, would lose some.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(path, index_col=False, low_memory=False)
        # A single file, never a dataset of the folder; extension types could run foreign code.
        file = pq.ParquetFile(path)
        for field in file.schema_arrow:
            if isinstance(field.type, pa.BaseExtensionType):
                raise InputError(f"{path}: column '{field.name}' has extension type {field.type}, "
                                 "store it as plain numbers")  # fmt: skip
        names = file.schema_arrow.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{path} has column '{twice[0]}' more than once: keep one of them")
        table: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
        return table
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    what = str(error).strip().splitlines()
    return InputError(f"{path} cannot be read ({what[0] if what else type(error).__name__}): "
                      "it may be truncated or of another format, write it anew")  # fmt: skip


def _minutes(column: "pd.Series[pd.Timestamp]", path: Path) -> NDArray[np.datetime64]:
    if pd.api.types.is_numeric_dtype(column):
        raise InputError(f"{path}: column '{TIME_COLUMN}' holds numbers, got {column.iloc[0]}: "
                         "write times as timestamps or ISO 8601 text")  # fmt: skip
    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        what = str(error).partition(". You might")[0]
        raise InputError(f"{path}: column '{TIME_COLUMN}' holds what is not a time ({what}): "
                         "write times as timestamps or ISO 8601 text") from None  # fmt: skip
    return times.dt.tz_localize(None).to_numpy().astype("datetime64[m]")


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    column = table[name]
    if column.isna().all():
        return np.full(len(column), np.nan)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        as_number = pd.to_numeric(column, errors="coerce")
        known = column[column.notna()]
        wrong = known[as_number[known.index].isna()]
        row = (wrong if len(wrong) else known).index[0]
        raise InputError(f"{path}: column '{name}' must hold numbers, got {column[row]!r} in row {row}")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
