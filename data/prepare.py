"""Raw folder -> prepared dataset, one series at a time; memory does not grow with their number."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.document import new_folder, refuse_existing
from hybridtune.data.features import FEATURE_NAMES, features
from hybridtune.data.find import Problem, SeriesFile, find_series
from hybridtune.data.index import Counts, KeptSeries, build_index
from hybridtune.data.info import DatasetInfo, Rejected
from hybridtune.data.labels import labels
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.read import extra_columns, read_series
from hybridtune.data.schema import InputError
from hybridtune.data.shortage import lengths, no_anchor
from hybridtune.data.store import (
    INFO,
    BarsWriter,
    dataset_fingerprint,
    table_hashes,
    usable_minutes,
    write_anchors,
    write_series_table,
)
from hybridtune.data.text import printable, shown


@dataclass(frozen=True)
class PreparedSeries:
    file: SeriesFile
    start: np.datetime64
    last: np.datetime64
    x_TF: NDArray[np.float32]
    y_TH: NDArray[np.int8]
    tied_TH: NDArray[np.bool_]
    """Equal prices, whatever their label."""
    unusable_rows: int


@dataclass(frozen=True)
class TooShort(Problem):
    minutes: int
    """Length of the series, as far as it is used."""


def prepare(
    raw: Path,
    out: Path,
    config: PrepareConfig | None = None,
    parallel_map: ParallelMap = map,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetInfo:
    """Writes the dataset `out` from the series below `raw`; `progress` gets (series done, series found).

    Raises InputError if nothing below `raw` is usable, if a slice would be empty, or if `out` exists;
    then `out` is not written.
    """
    config = config or PrepareConfig()
    refuse_existing(out)
    found = find_series(raw)
    with new_folder(out) as folder:
        rejections = Rejections(config.strict)
        for problem in found.problems:
            rejections.add(problem)
        extras, files = agree_on_extras(found.files, rejections)
        writer = BarsWriter(folder, len(FEATURE_NAMES) + len(extras), len(config.horizons))
        kept: list[KeptSeries] = []
        results = parallel_map(partial(prepare_series, config=config, extras=extras), files)
        for done, result in enumerate(results, start=1):
            if isinstance(result, Problem):
                rejections.add(result)
            else:
                writer.append(result.x_TF, result.y_TH)
                kept.append(keep(result, config))
            progress(done, len(files))
        if not kept:
            raise rejections.nothing_usable()
        info = _write_index(folder, kept, config, writer.close(), raw, extras, rejections)
        info.write(folder / INFO)
    return info


def prepare_series(file: SeriesFile, config: PrepareConfig, extras: tuple[str, ...]) -> PreparedSeries | Problem:
    """Features and labels of one file, or why it is not usable."""
    try:
        bars = read_series(file.path, extras, limit_minutes=config.used_minutes)
    except InputError as error:
        return Problem(file.path, str(error))
    dropped_TH, down_TH = (labels(bars.price_T, bars.observed_T, config.horizons, ties) for ties in ("drop", "down"))
    tied_TH = (dropped_TH != down_TH)[: config.expanding_max]
    y_TH = (dropped_TH if config.ties == "drop" else down_TH)[: config.expanding_max]
    if not len(usable_minutes(y_TH, config.expanding_min)):
        tied = config.ties == "drop" and bool(tied_TH[config.expanding_min - 1 :].any())
        observed = int(bars.observed_T.sum())
        reason = no_anchor(len(bars), observed, config.expanding_min, config.horizons[0], tied)
        return TooShort(file.path, f"{file.path} {reason}", len(bars))
    return PreparedSeries(
        file=file,
        start=bars.start,
        last=bars.start + len(bars) - 1,
        x_TF=features(bars, extras)[: config.expanding_max],
        y_TH=y_TH,
        tied_TH=tied_TH,
        unusable_rows=bars.unusable_rows,
    )


def keep(series: PreparedSeries, config: PrepareConfig) -> KeptSeries:
    """What is remembered of a series. Its frozen anchors lie a stride apart, counted from the first minute with enough
    history.
    """
    usable = usable_minutes(series.y_TH, config.expanding_min)
    frozen = usable[(usable - (config.expanding_min - 1)) % config.anchor_stride == 0]
    return KeptSeries(
        file=series.file,
        start=series.start,
        last=series.last,
        bars=len(series.x_TF),
        unusable_rows=series.unusable_rows,
        frozen_minutes=frozen,
        usable=Counts.of(series.y_TH, series.tied_TH, usable),
        frozen=Counts.of(series.y_TH, series.tied_TH, frozen),
    )


class Rejections:
    """The files that cannot be used, and why. Strict: the first of them ends everything."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._problems: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Raises InputError where strict."""
        if self._strict:
            raise InputError(problem.reason)
        self._problems.append(problem)

    def listed(self) -> tuple[Rejected, ...]:
        return tuple(Rejected(path=printable(p.path), reason=printable(p.reason)) for p in self._problems)

    def nothing_usable(self) -> InputError:
        first = printable(self._problems[0].reason)
        more = f" (and {len(self._problems) - 1} more files)" if len(self._problems) > 1 else ""
        minutes = [problem.minutes for problem in self._problems if isinstance(problem, TooShort)]
        short = f"; {len(minutes)} of them are {lengths(minutes)}" if len(minutes) > 1 else ""
        return InputError(f"no usable series: {first}{more}{short}")


def agree_on_extras(files: Sequence[SeriesFile], rejections: Rejections) -> tuple[tuple[str, ...], list[SeriesFile]]:
    """The extra columns that most files have, and the files that have just these. Raises InputError if none is left."""
    columns: dict[SeriesFile, tuple[str, ...]] = {}
    for file in files:
        try:
            columns[file] = _new_columns(file.path)
        except InputError as error:
            rejections.add(Problem(file.path, str(error)))
    if not columns:
        raise rejections.nothing_usable()
    (usual, _), *_ = Counter(columns.values()).most_common(1)
    for file, extras in columns.items():
        if extras != usual:
            reason = (
                f"{file.path} has extra columns {shown(list(extras))} where most files have {shown(list(usual))}: "
                "give it the same columns or put it into a dataset of its own"
            )
            rejections.add(Problem(file.path, reason))
    return usual, [file for file, extras in columns.items() if extras == usual]


def _new_columns(path: Path) -> tuple[str, ...]:
    extras = extra_columns(path)
    if computed := sorted(set(extras) & set(FEATURE_NAMES)):
        raise InputError(f"{path}: column '{computed[0]}' has the name of a computed feature: rename it")
    return extras


def _write_index(
    folder: Path,
    kept: Sequence[KeptSeries],
    config: PrepareConfig,
    bars_hash: str,
    raw: Path,
    extras: tuple[str, ...],
    rejections: Rejections,
) -> DatasetInfo:
    index = build_index(kept, config)
    write_series_table(folder, index.table)
    anchors_hash = write_anchors(folder, index.anchors)
    info = DatasetInfo(
        features=FEATURE_NAMES + extras,
        extras=extras,
        horizons=config.horizons,
        expanding_min=config.expanding_min,
        expanding_max=config.expanding_max,
        ties=config.ties,
        anchor_stride=config.anchor_stride,
        slices=index.slices,
        folds=index.folds,
        categories=dict(sorted(Counter(index.table.category_M).items())),
        sources=(printable(raw.resolve()),),
        rejected=rejections.listed(),
        unusable_rows=sum(series.unusable_rows for series in kept),
        anchors_hash=anchors_hash,
        bars_hash=bars_hash,
        table_hashes=table_hashes(folder),
        fingerprint="",
    )
    return info.model_copy(update={"fingerprint": dataset_fingerprint(info, index.table)})
