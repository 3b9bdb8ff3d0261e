"""The prepared dataset: how it is written, opened without reading it, and identified.

    dataset.json    DatasetInfo
    series.arrow    one row a kept series: name, category, start, bars, slice, and fold_<k> of earlier folds
    bars.arrow      one record batch a series, in the order of series.arrow: x (T, F) float32, y (T, H) int8
    anchors.arrow   every series' frozen anchors, on which all configurations are scored: series, minute

Arrow IPC without compression, so that a memory-mapped array is the file itself: every process of a machine
shares one copy. Nothing is pickled.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hybridtune.data.features import formulas_digest
from hybridtune.data.info import DatasetInfo
from hybridtune.data.schema import SLICES, InputError, SliceName
from hybridtune.data.text import cut

INFO, SERIES, BARS, ANCHORS = "dataset.json", "series.arrow", "bars.arrow", "anchors.arrow"
ARRAYS = (SERIES, BARS, ANCHORS)
FOLD = "fold_"


@dataclass(frozen=True)
class SeriesTable:
    name_M: tuple[str, ...]
    category_M: tuple[str, ...]
    start_M: NDArray[np.datetime64]
    bars_M: NDArray[np.int64]
    slice_M: NDArray[np.int8]
    earlier_folds: tuple[NDArray[np.int8], ...] = ()
    """slice_M of each walk-forward fold before the last, with train and tune only."""


@dataclass(frozen=True)
class Anchors:
    """Some anchors, those of one series together and in order of minute."""

    series_A: NDArray[np.int64]
    minute_A: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.series_A)


@dataclass(frozen=True)
class DatasetBytes:
    """A dataset's files as bytes, wherever they lie: what travels where its folder is not."""

    info: DatasetInfo
    files: Mapping[str, NDArray[np.uint8]]

    @classmethod
    def map(cls, path: Path) -> Self:
        """The files of a folder, memory-mapped. Raises InputError if `path` is no dataset."""
        info = Dataset(path).info
        return cls(info, {name: np.memmap(path / name, np.uint8, "r").view(np.ndarray) for name in ARRAYS})


class Dataset:
    """A prepared dataset, memory-mapped. Opening it reads the index only, not the bars, and checks that index."""

    def __init__(self, source: Path | DatasetBytes) -> None:
        """Raises InputError if the source is no dataset or was damaged; `verify` reads the bars too."""
        self.source = source
        if isinstance(source, Path) and not source.is_dir():
            raise InputError(f"{source} is not a dataset folder: `hybridtune prepare` makes one")
        self.info = source.info if isinstance(source, DatasetBytes) else DatasetInfo.read(source / INFO)
        with self._refusing_damage():
            # First, as Arrow may end the process on a table with a damaged string.
            for name in (SERIES, ANCHORS):
                if hashlib.sha256(self._buffer(name).read_buffer()).hexdigest() != self.info.table_hashes[name]:
                    raise self._damaged(f"{name} was changed")
            self.series = _series_table(pa.ipc.open_file(self._buffer(SERIES)).read_all())
            self._anchors = _anchors(pa.ipc.open_file(self._buffer(ANCHORS)).read_all())
            if dataset_fingerprint(self.info, self.series) != self.info.fingerprint:
                raise self._damaged(f"{INFO} was changed")
            if self.info.formulas != formulas_digest():
                raise InputError(f"{source} was made with other formulas of its features: prepare it anew")
            self._bars = pa.ipc.open_file(self._buffer(BARS))
            self._check_bars()
        self._columns = list(range(len(self.info.horizons)))

    def _buffer(self, name: str) -> pa.NativeFile:
        if isinstance(self.source, Path):
            return pa.memory_map(str(self.source / name))
        return pa.BufferReader(pa.py_buffer(self.source.files[name]))

    def _check_bars(self) -> None:
        """That the file goes with the rest, which its digest or the fingerprint proves whole."""
        x_type, y_type = (self._bars.schema.field(name).type for name in "xy")
        for what, found, expected in (
            ("series", len(self), len(self.series.name_M)),
            ("features", x_type.list_size, len(self.info.features)),
            ("horizons", y_type.list_size, len(self.info.horizons)),
        ):
            if found != expected:
                raise self._damaged(f"{BARS} holds {found} {what} instead of {expected}")

    @contextmanager
    def _refusing_damage(self) -> Iterator[None]:
        """What reads our own files may raise anything where they were damaged: ArrowInvalid, UnicodeDecodeError,
        SystemError, IndexError and MemoryError were seen.
        """
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            what = str(error).strip().splitlines()
            raise self._damaged(cut(what[0]) if what else type(error).__name__) from None

    def _damaged(self, problem: str) -> InputError:
        where = self.source if isinstance(self.source, Path) else "the dataset"
        return InputError(f"{where} is damaged ({problem}): prepare it anew")

    def __reduce__(self) -> tuple[type[Self], tuple[Path | DatasetBytes]]:
        return type(self), (self.source,)

    def __len__(self) -> int:
        return int(self._bars.num_record_batches)

    def x_TF(self, series: int) -> NDArray[np.float32]:
        return self._matrix(series, "x")

    def y_TH(self, series: int) -> NDArray[np.int8]:
        y_TH = self._matrix(series, "y")
        # A view, where every horizon is wanted.
        return y_TH if len(self._columns) == y_TH.shape[1] else y_TH[:, self._columns]

    def _matrix(self, series: int, name: str) -> NDArray[Any]:
        """Of every horizon that was prepared, as the file holds it."""
        with self._refusing_damage():
            batch = self._bars.get_batch(series)
            batch.validate()
            column = batch.column(name)
            values: NDArray[Any] = column.values.to_numpy(zero_copy_only=True)
            matrix = values.reshape(-1, column.type.list_size)
        if len(matrix) != self.series.bars_M[series]:
            raise self._damaged(f"series {series} has {len(matrix)} bars, {SERIES} says {self.series.bars_M[series]}")
        return matrix

    def verify(self) -> None:
        """Raises InputError if any value of the bars is not the one that was written. Reads all of them: 700 MB take a
        second.
        """
        digest = hashlib.sha256()
        for series in range(len(self)):
            for name in "xy":
                digest.update(self._matrix(series, name).data)
        if digest.hexdigest() != self.info.bars_hash:
            raise self._damaged(f"{BARS} holds other values than were written")

    def members(self, name: SliceName) -> NDArray[np.int64]:
        """The series of a slice, in order of launch."""
        chosen = np.flatnonzero(self.series.slice_M == SLICES.index(name))
        return chosen[np.argsort(self.series.start_M[chosen], kind="stable")]

    def frozen_anchors(self, name: SliceName) -> Anchors:
        """The anchors on which every configuration is scored in a slice."""
        chosen = self.series.slice_M[self._anchors.series_A] == SLICES.index(name)
        return Anchors(self._anchors.series_A[chosen], self._anchors.minute_A[chosen])

    def only(self, horizons: Sequence[int]) -> "Dataset":
        """The same series, slices and anchors with some of the horizons. Raises InputError for one it does not have."""
        if missing := sorted(set(horizons) - set(self.info.horizons)):
            raise InputError(
                f"the dataset has no horizon {missing[0]}: it has {', '.join(map(str, self.info.horizons))}; choose "
                "among them or prepare with other --horizons"
            )
        if not horizons or list(horizons) != sorted(set(horizons)):
            raise InputError(f"horizons must be ascending minutes, each once, got {tuple(horizons)}")
        chosen = [self.info.horizons.index(horizon) for horizon in horizons]
        view = copy.copy(self)
        view._columns = [self._columns[index] for index in chosen]
        view.info = self.info.only(chosen)
        return view

    def folds(self) -> list["Dataset"]:
        """The dataset as each walk-forward fold sees its train and tune, the earliest first and itself last."""
        views = []
        for slice_M, slices in zip(self.series.earlier_folds, self.info.folds, strict=True):
            view = copy.copy(self)
            view.series = replace(self.series, slice_M=slice_M, earlier_folds=())
            # The base rate of a fold must not come from launches after its train slice.
            view.info = self.info.model_copy(update={"slices": slices, "folds": ()})
            views.append(view)
        return [*views, self]


OF_THE_FILES = {
    "sources",
    "rejected",
    "columns",
    "unusable_rows",
    "late_series",
    "suspects",
    "collected_last",
    "collected_until",
    "table_hashes",
    "fingerprint",
}


def dataset_fingerprint(info: DatasetInfo, series: SeriesTable) -> str:
    """A digest of the settings, of every value, and of the launch (it orders the training) and slice of every
    series; not of where they came from.
    """
    settings = info.model_dump_json(exclude=OF_THE_FILES)
    folds = [slice_M.tolist() for slice_M in (*series.earlier_folds, series.slice_M)]
    rows = f"{series.start_M.astype(np.int64).tolist()} {folds}"
    return hashlib.sha256(f"{settings} {rows}".encode()).hexdigest()[:16]


def usable_minutes(y_TH: NDArray[np.int8]) -> NDArray[np.int64]:
    """Minutes at which an anchor may stand: at least one label is known, which takes enough bars before, too."""
    return np.flatnonzero((y_TH >= 0).any(axis=1))


class BarsWriter:
    """Streams series into bars.arrow and hashes what it writes."""

    def __init__(self, folder: Path, feature_count: int, horizon_count: int) -> None:
        self._schema = pa.schema({"x": pa.list_(pa.float32(), feature_count), "y": pa.list_(pa.int8(), horizon_count)})
        self._sink = pa.OSFile(str(folder / BARS), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._hash = hashlib.sha256()

    def append(self, x_TF: NDArray[np.float32], y_TH: NDArray[np.int8]) -> None:
        columns = []
        for matrix, kind in zip((x_TF, y_TH), self._schema.types, strict=True):
            flat = np.ascontiguousarray(matrix).reshape(-1)
            self._hash.update(flat.data)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind))
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> str:
        """The digest of all values, in hexadecimal."""
        self._writer.close()
        self._sink.close()
        return self._hash.hexdigest()


def write_series_table(folder: Path, series: SeriesTable) -> None:
    columns = {
        "name": pa.array(series.name_M, pa.string()),
        "category": pa.array(series.category_M, pa.string()),
        "start": pa.array(series.start_M.astype("datetime64[s]")),
        "bars": pa.array(series.bars_M),
        "slice": pa.array(series.slice_M),
    } | {f"{FOLD}{k}": pa.array(slice_M) for k, slice_M in enumerate(series.earlier_folds, start=1)}
    _write_table(folder / SERIES, pa.table(columns))


def write_anchors(folder: Path, anchors: Anchors) -> str:
    """Returns the digest of the anchors, in hexadecimal."""
    columns = {"series": anchors.series_A, "minute": anchors.minute_A}
    _write_table(folder / ANCHORS, pa.table(columns))
    digest = hashlib.sha256()
    for values in columns.values():
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def table_hashes(folder: Path) -> dict[str, str]:
    """The digest of each small file, in hexadecimal."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (SERIES, ANCHORS)}


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _series_table(table: pa.Table) -> SeriesTable:
    return SeriesTable(
        name_M=tuple(table.column("name").to_pylist()),
        category_M=tuple(table.column("category").to_pylist()),
        start_M=table.column("start").to_numpy().astype("datetime64[m]"),
        bars_M=table.column("bars").to_numpy(),
        slice_M=table.column("slice").to_numpy(),
        earlier_folds=tuple(table.column(name).to_numpy() for name in table.column_names if name.startswith(FOLD)),
    )


def _anchors(table: pa.Table) -> Anchors:
    return Anchors(table.column("series").to_numpy(), table.column("minute").to_numpy())
