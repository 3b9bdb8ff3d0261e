"""The only place that opens raw files: parquet, CSV, feather, lists of candles as JSON, copies of long tables."""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from hybridtune.data.columns import CANDLE
from hybridtune.data.find import SeriesFile
from hybridtune.data.schema import InputError, refuse_non_utf8
from hybridtune.data.text import cut, shown

SAVED_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")
"""Columns that pandas makes of a saved row number; no feature."""


@contextmanager
def refusing(path: Path) -> Iterator[None]:
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


def column_names(file: SeriesFile) -> list[str]:
    """Raises InputError if two columns have one name, or the parts of a series have different columns."""
    if file.copy is not None:
        return _without_row_numbers(_copy(file).schema.names)
    first, *others = (_names(path) for path in file.paths)
    for path, names in zip(file.paths[1:], others, strict=True):
        if names != first:
            raise InputError(f"{path} has other columns than {file.paths[0]}: give all parts of a series the same")
    return first


def load(file: SeriesFile, columns: list[str] | None = None) -> pd.DataFrame:
    """columns: None for all."""
    if file.copy is not None:
        batch = _copy(file).get_batch(file.batch)
        table: pd.DataFrame = batch.select(columns or batch.schema.names).to_pandas(ignore_metadata=True)
        return table
    parts = [_load(path, columns) for path in file.paths]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def load_arrow(path: Path, text: str, columns: list[str] | None = None) -> pa.Table:
    """text: the column that is read as it is written, as a token may be named NA or 01; empty where it says nothing."""
    match path.suffix.lower():
        case ".csv":
            # By itself pandas takes some words for no value, whatever the type that it is given.
            written = pd.read_csv(path, index_col=False, usecols=[text], dtype=str, keep_default_na=False)
            table = pa.Table.from_pandas(_load(path, columns).assign(**written), preserve_index=False)
        case ".json":
            table = pa.Table.from_pandas(_load(path, columns), preserve_index=False)
        case _:
            table = _arrow(path, columns)
    # Categories: of several tables they differ, and a sorted copy gains nothing by them.
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    place = table.schema.get_field_index(text)
    return table.set_column(place, text, table.column(place).cast(pa.string()))


def _names(path: Path) -> list[str]:
    refuse_non_utf8(path)
    match path.suffix.lower():
        case ".parquet":
            found = list(pq.read_schema(path).names)
        case ".feather":
            with pa.memory_map(str(path)) as source:
                found = list(pa.ipc.open_file(source).schema.names)
        case ".json":
            found = list(CANDLE)
        case _:
            # As a row of text, because pandas renames the second of two equal names of a header.
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
            found = [name or f"Unnamed: {index}" for index, name in enumerate(header)]
    names = _without_row_numbers(found)
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has column {shown(twice[0])} more than once: keep one of them")
    return names


def _without_row_numbers(names: list[str]) -> list[str]:
    return [name for name in names if not SAVED_INDEX.fullmatch(name)]


def _load(path: Path, columns: list[str] | None) -> pd.DataFrame:
    match path.suffix.lower():
        case ".csv":
            with warnings.catch_warnings():
                # A row with more fields than the header, such as one with decimal commas, would lose some.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(path, index_col=False, low_memory=False, usecols=columns)
        case ".json":
            return _candles(path)[columns or list(CANDLE)]
    table: pd.DataFrame = _arrow(path, columns).to_pandas(ignore_metadata=True)
    return table


def _arrow(path: Path, columns: list[str] | None) -> pa.Table:
    # A single file, never a dataset of the folder; extension types could run foreign code.
    if path.suffix.lower() == ".feather":
        with pa.memory_map(str(path)) as source:
            schema = pa.ipc.open_file(source).schema
        _refuse_extensions(path, schema, columns)
        return _decimals_as_floats(pyarrow.feather.read_table(path, columns))
    file = pq.ParquetFile(path)
    _refuse_extensions(path, file.schema_arrow, columns)
    return _decimals_as_floats(file.read(columns))


def _refuse_extensions(path: Path, schema: pa.Schema, columns: list[str] | None) -> None:
    for field in schema:
        if (columns is None or field.name in columns) and isinstance(field.type, pa.BaseExtensionType):
            raise InputError(
                f"{path}: column {shown(field.name)} has extension type {cut(str(field.type))}, "
                "store it as plain numbers"
            )


def _decimals_as_floats(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
    return table


def _candles(path: Path) -> pd.DataFrame:
    """Of a list of [time, open, high, low, close, volume], or of an answer of GeckoTerminal that holds one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key in ("data", "attributes", "ohlcv_list"):
        content = content.get(key) if isinstance(content, dict) else content
    rows = content if isinstance(content, list) else []
    if not rows or not all(isinstance(row, list) and len(row) == len(CANDLE) for row in rows):
        raise InputError(f"{path} holds no list of candles: [[{', '.join(CANDLE)}], ...] is expected")
    return pd.DataFrame(rows, columns=list(CANDLE))


def _copy(file: SeriesFile) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(file.copy)))
