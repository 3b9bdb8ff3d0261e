"""The prepared dataset: how it is written, opened without reading it, and identified.

    dataset.json    DatasetInfo
    series.arrow    one row a kept series: name, category, start, bars, slice, and fold_<k> of earlier folds
    bars.arrow      one record batch a series, in the order of series.arrow: x (T, F) float32, y (T, H) int8
    anchors.arrow   every series' frozen anchors, on which all configurations are judged: series, minute

Arrow IPC without compression, so that a memory-mapped array is the file itself: every process of a machine
shares one copy. Nothing is pickled.
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from data.document import Document
from data.schema import SLICES, InputError, SliceName, Ties

INFO, SERIES, BARS, ANCHORS = "dataset.json", "series.arrow", "bars.arrow", "anchors.arrow"
ARRAYS = (SERIES, BARS, ANCHORS)
FOLD = "fold_"


class SliceInfo(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    series: int
    purged: int
    """Series cut into this slice but left out, because they reach into the next."""
    anchors: int
    """Anchors with at least one known label: all of them in train, the frozen ones elsewhere."""
    up_share: tuple[float, ...]
    """Share of label 1 among the known labels of those anchors, for each horizon."""
    known_labels: tuple[int, ...]
    """Of those anchors, for each horizon; the others are masked."""
    tied_labels: tuple[int, ...]
    """Equal prices, at every minute with enough history."""

    def only(self, places: Sequence[int]) -> Self:
        per_horizon = ("up_share", "known_labels", "tied_labels")
        return self.model_copy(update={n: tuple(getattr(self, n)[place] for place in places) for n in per_horizon})


class Rejected(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    reason: str


class DatasetInfo(Document):
    """dataset.json"""

    features: tuple[str, ...]
    """The computed features, then the extra columns."""
    extras: tuple[str, ...]
    horizons: tuple[int, ...]
    expanding_min: int
    expanding_max: int
    ties: Ties
    anchor_stride: int
    """Minutes between two frozen anchors of a series."""
    slices: dict[SliceName, SliceInfo]
    folds: tuple[dict[SliceName, SliceInfo], ...]
    """Train and tune of the walk-forward folds before the last; the last is that of `slices`."""
    categories: dict[str, int]
    sources: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    unusable_rows: int
    anchors_hash: str
    fingerprint: str
    """Identifies values, slices and anchors: equal fingerprints, equal results."""

    def only(self, places: Sequence[int]) -> "DatasetInfo":
        """The same with some of its horizons, given by their places."""

        def chosen(slices: dict[SliceName, SliceInfo]) -> dict[SliceName, SliceInfo]:
            return {name: part.only(places) for name, part in slices.items()}

        horizons = tuple(self.horizons[place] for place in places)
        folds = tuple(chosen(fold) for fold in self.folds)
        return self.model_copy(update={"horizons": horizons, "slices": chosen(self.slices), "folds": folds})

    def summary(self) -> list[str]:
        """What a person wants to know of the dataset, a line each."""
        lines = []
        for name, part in self.slices.items():
            shares = self._by_horizon(f"{share:.2f}" for share in part.up_share)
            lines.append(
                f"{name}: {part.series} series ({part.purged} purged: they reach into the next slice), {part.anchors} "
                f"anchors, share of rises {shares}"
            )
            masked = self._by_horizon(part.anchors - known for known in part.known_labels)
            lines.append(f"  masked labels {masked}; ties {self._by_horizon(part.tied_labels)}")
        for number, fold in enumerate(self.folds, start=1):
            parts = ", ".join(f"{name} {part.series} ({part.purged} purged)" for name, part in fold.items())
            lines.append(f"fold {number} of {len(self.folds) + 1}: {parts}")
        lines.append("categories: " + ", ".join(f"{name or '-'} {count}" for name, count in self.categories.items()))
        lines.append(f"{self.unusable_rows} rows without a usable time or price, {len(self.rejected)} files rejected")
        lines += [f"rejected: {rejected.reason}" for rejected in self.rejected]
        return lines

    def _by_horizon(self, values: Iterable[object]) -> str:
        return ", ".join(f"{horizon}: {value}" for horizon, value in zip(self.horizons, values, strict=True))


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
    """A prepared dataset, memory-mapped. Opening it reads the index only, not the bars."""

    def __init__(self, source: Path | DatasetBytes) -> None:
        """Raises InputError if the source is no dataset or was damaged."""
        self.source = source
        if isinstance(source, Path) and not source.is_dir():
            raise InputError(f"{source} is not a dataset folder: `hybridtune prepare` makes one")
        self.info = source.info if isinstance(source, DatasetBytes) else DatasetInfo.read(source / INFO)
        try:
            self._bars = self._open(BARS)
            self.series = _series_table(self._open(SERIES).read_all())
            self._anchors = _anchors(self._open(ANCHORS).read_all())
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(f"{source} is damaged ({error}): prepare it anew") from None
        self._columns = list(range(len(self.info.horizons)))

    def _open(self, name: str) -> pa.ipc.RecordBatchFileReader:
        if isinstance(self.source, Path):
            return pa.ipc.open_file(pa.memory_map(str(self.source / name)))
        return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self.source.files[name])))

    def __reduce__(self) -> tuple[type[Self], tuple[Path | DatasetBytes]]:
        return type(self), (self.source,)

    def __len__(self) -> int:
        return int(self._bars.num_record_batches)

    def x_TF(self, series: int) -> NDArray[np.float32]:
        return _matrix(self._bars.get_batch(series).column("x"), len(self.info.features))

    def y_TH(self, series: int) -> NDArray[np.int8]:
        return self._labels(series)[:, self._columns]

    def _labels(self, series: int) -> NDArray[np.int8]:
        """Of every horizon that was prepared."""
        column = self._bars.get_batch(series).column("y")
        return _matrix(column, column.type.list_size)

    def members(self, name: SliceName) -> NDArray[np.int64]:
        """The series of a slice, in order of launch."""
        chosen = np.flatnonzero(self.series.slice_M == SLICES.index(name))
        return chosen[np.argsort(self.series.start_M[chosen], kind="stable")]

    def frozen_anchors(self, name: SliceName) -> Anchors:
        """The anchors on which every configuration is judged in a slice."""
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
        view._columns = [self._columns[place] for place in chosen]
        view.info = self.info.only(chosen)
        return view

    def folds(self) -> list["Dataset"]:
        """The dataset as each walk-forward fold sees its train and tune, the earliest first and itself last."""
        views = []
        for slice_M, slices in zip(self.series.earlier_folds, self.info.folds, strict=True):
            view = copy.copy(self)
            view.series = replace(self.series, slice_M=slice_M, earlier_folds=())
            # Whoever asks for the share of rises in train must not learn it from launches behind this fold's train.
            view.info = self.info.model_copy(update={"slices": slices, "folds": ()})
            views.append(view)
        return [*views, self]


def dataset_fingerprint(contents: dict[str, Any], bars_digest: str, series: SeriesTable) -> str:
    """A digest of the settings, of every value, and of the launch (it orders the training) and slice of every
    series.
    """
    settings = json.dumps(contents, sort_keys=True, default=lambda model: model.model_dump())
    folds = [slice_M.tolist() for slice_M in (*series.earlier_folds, series.slice_M)]
    rows = f"{series.start_M.astype(np.int64).tolist()} {folds}"
    return hashlib.sha256(f"{settings} {bars_digest} {rows}".encode()).hexdigest()[:16]


def usable_minutes(y_TH: NDArray[np.int8], expanding_min: int) -> NDArray[np.int64]:
    """Minutes at which an anchor may stand: enough history and at least one known label."""
    known_T = np.any(y_TH >= 0, axis=1)
    known_T[: expanding_min - 1] = False
    return np.flatnonzero(known_T)


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
            self._hash.update(flat.tobytes())
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
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


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


def _matrix(column: pa.FixedSizeListArray, width: int) -> NDArray[Any]:
    values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=True)
    return values.reshape(-1, width)
