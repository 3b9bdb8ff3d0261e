"""Raw folder -> prepared dataset, one series at a time; memory does not grow with their number."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.document import new_folder, refuse_existing
from hybridtune.data.features import FEATURE_NAMES, features
from hybridtune.data.find import Problem, SeriesFile, find_series
from hybridtune.data.info import DatasetInfo, Rejected, SliceInfo
from hybridtune.data.labels import labels
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.read import extra_columns, read_series
from hybridtune.data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
    SLICES,
    InputError,
    SliceName,
    Ties,
    check_choice,
)
from hybridtune.data.short import lengths, no_anchor, no_label
from hybridtune.data.split import Shares, Split, earlier_folds, split
from hybridtune.data.store import (
    INFO,
    Anchors,
    BarsWriter,
    SeriesTable,
    dataset_fingerprint,
    table_hashes,
    usable_minutes,
    write_anchors,
    write_series_table,
)
from hybridtune.data.text import printable, shown

LONGEST_MINUTES = 10_000_000
"""Nineteen years: longer than any series, and no sum of such minutes overflows."""


@dataclass(frozen=True)
class PrepareConfig:
    horizons: tuple[int, ...] = DEFAULT_HORIZONS
    """Minutes ahead, ascending."""
    ties: Ties = "drop"
    """Equal prices: masked (drop) or label 0 (down)."""
    shares: Shares = field(default_factory=Shares)
    expanding_min: int = DEFAULT_EXPANDING_MIN
    expanding_max: int = DEFAULT_EXPANDING_MAX
    """Fewest and most bars from launch that an anchor sees."""
    anchor_stride: int = 15
    """Minutes between two frozen anchors of a series in tune, blend and test."""
    folds: int = 1
    """Walk-forward folds of train and tune; blend and test are those of the last."""
    strict: bool = False
    """A file that cannot be used ends everything instead of being rejected."""

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1 or list(self.horizons) != sorted(set(self.horizons)):
            raise InputError(f"horizons must be ascending minutes above 0, got {self.horizons}")
        if not 1 <= self.expanding_min <= self.expanding_max:
            raise InputError(
                "1 <= expanding-min <= expanding-max must hold, "
                f"got (expanding-min={self.expanding_min}, expanding-max={self.expanding_max})"
            )
        for name, minutes in (
            ("horizons", self.horizons[-1]),
            ("expanding-max", self.expanding_max),
            ("anchor-stride", self.anchor_stride),
        ):
            if minutes > LONGEST_MINUTES:
                raise InputError(f"{name} must be at most {LONGEST_MINUTES} minutes, got {minutes}")
        if self.folds < 1:
            raise InputError(f"folds must be at least 1, got {self.folds}")
        if self.anchor_stride < 1:
            raise InputError(f"anchor-stride must be at least 1 minute, got {self.anchor_stride}")
        check_choice("ties", self.ties, get_args(Ties))

    @property
    def used_minutes(self) -> int:
        """Bars beyond this minute reach neither a feature nor a label."""
        return self.expanding_max + self.horizons[-1]


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


@dataclass(frozen=True)
class Counts:
    """Of some anchors of one series."""

    anchors: int
    up_H: NDArray[np.int64]
    known_H: NDArray[np.int64]
    tied_H: NDArray[np.int64]

    @classmethod
    def of(cls, series: PreparedSeries, minutes: NDArray[np.int64]) -> Self:
        y_AH, tied_AH = series.y_TH[minutes], series.tied_TH[minutes]
        return cls(len(minutes), (y_AH == 1).sum(axis=0), (y_AH >= 0).sum(axis=0), tied_AH.sum(axis=0))


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
    index = _Index(config)
    with new_folder(out) as folder:
        for problem in found.problems:
            index.reject(problem)
        extras, files = index.agree_on_extras(found.files)
        writer = BarsWriter(folder, len(FEATURE_NAMES) + len(extras), len(config.horizons))
        results = parallel_map(partial(prepare_series, config=config, extras=extras), files)
        for done, result in enumerate(results, start=1):
            if isinstance(result, Problem):
                index.reject(result)
            else:
                writer.append(result.x_TF, result.y_TH)
                index.add(result)
            progress(done, len(files))
        info = index.finish(folder, writer.close(), raw, extras)
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


class _Index:
    """What is kept of every series while the bars stream by."""

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self.rejected: list[Rejected] = []
        self.files: list[SeriesFile] = []
        self.starts: list[np.datetime64] = []
        self.lasts: list[np.datetime64] = []
        self.bars: list[int] = []
        self.unusable_rows = 0
        self.frozen_minutes: list[NDArray[np.int64]] = []
        self.usable: list[Counts] = []
        self.frozen: list[Counts] = []
        self.too_short: list[int] = []

    def reject(self, problem: Problem) -> None:
        if self.config.strict:
            raise InputError(problem.reason)
        if isinstance(problem, TooShort):
            self.too_short.append(problem.minutes)
        self.rejected.append(Rejected(path=printable(problem.path), reason=printable(problem.reason)))

    def agree_on_extras(self, files: list[SeriesFile]) -> tuple[tuple[str, ...], list[SeriesFile]]:
        """The extra columns that most files have, and the files that have just these."""
        columns: dict[SeriesFile, tuple[str, ...]] = {}
        for file in files:
            try:
                columns[file] = _new_columns(file.path)
            except InputError as error:
                self.reject(Problem(file.path, str(error)))
        if not columns:
            raise self._nothing_usable()
        (usual, _), *_ = Counter(columns.values()).most_common(1)
        for file, extras in columns.items():
            if extras != usual:
                reason = (
                    f"{file.path} has extra columns {shown(list(extras))} where most files have {shown(list(usual))}: "
                    "give it the same columns or put it into a dataset of its own"
                )
                self.reject(Problem(file.path, reason))
        return usual, [file for file, extras in columns.items() if extras == usual]

    def add(self, series: PreparedSeries) -> None:
        self.files.append(series.file)
        self.starts.append(series.start)
        self.lasts.append(series.last)
        self.bars.append(len(series.x_TF))
        self.unusable_rows += series.unusable_rows
        usable = usable_minutes(series.y_TH, self.config.expanding_min)
        first = self.config.expanding_min - 1
        frozen = usable[(usable - first) % self.config.anchor_stride == 0]
        self.frozen_minutes.append(frozen)
        self.usable.append(Counts.of(series, usable))
        self.frozen.append(Counts.of(series, frozen))

    def finish(self, folder: Path, bars_digest: str, raw: Path, extras: tuple[str, ...]) -> DatasetInfo:
        if not self.files:
            raise self._nothing_usable()
        config = self.config
        start_M, last_M = (np.array(times, dtype="datetime64[m]") for times in (self.starts, self.lasts))
        cut = split(start_M, last_M, config.shares)
        folds = earlier_folds(start_M, last_M, config.shares, config.folds)
        table = SeriesTable(
            name_M=tuple(file.name for file in self.files),
            category_M=tuple(file.category for file in self.files),
            start_M=start_M,
            bars_M=np.array(self.bars),
            slice_M=cut.slice_M,
            earlier_folds=tuple(fold.slice_M for fold in folds),
        )
        write_series_table(folder, table)
        anchors_hash = write_anchors(folder, self._frozen_anchors())
        info = DatasetInfo(
            features=FEATURE_NAMES + extras,
            extras=extras,
            horizons=config.horizons,
            expanding_min=config.expanding_min,
            expanding_max=config.expanding_max,
            ties=config.ties,
            anchor_stride=config.anchor_stride,
            slices={name: self._slice_info(name, cut) for name in SLICES},
            folds=tuple(
                {name: self._slice_info(name, fold, f" of fold {number} of {config.folds}") for name in SLICES[:2]}
                for number, fold in enumerate(folds, start=1)
            ),
            categories=dict(sorted(Counter(file.category for file in self.files).items())),
            sources=(printable(raw.resolve()),),
            rejected=tuple(self.rejected),
            unusable_rows=self.unusable_rows,
            anchors_hash=anchors_hash,
            bars_hash=bars_digest,
            table_hashes=table_hashes(folder),
            fingerprint="",
        )
        return info.model_copy(update={"fingerprint": dataset_fingerprint(info, table)})

    def _frozen_anchors(self) -> Anchors:
        counts = [len(minutes) for minutes in self.frozen_minutes]
        return Anchors(np.repeat(np.arange(len(counts)), counts), np.concatenate(self.frozen_minutes))

    def _slice_info(self, name: SliceName, cut: Split, of_fold: str = "") -> SliceInfo:
        members = np.flatnonzero(cut.slice_M == SLICES.index(name)).tolist()
        counts = [(self.usable if name == "train" else self.frozen)[i] for i in members]
        up_H, known_H, tied_H = np.sum([(each.up_H, each.known_H, each.tied_H) for each in counts], axis=0)
        anchors = sum(each.anchors for each in counts)
        for place, known in enumerate(known_H):
            if known == 0:
                raise self._no_label(f"slice '{name}'{of_fold}", members, anchors, place)
        return SliceInfo(
            series=len(members),
            purged=cut.purged_from(name),
            anchors=anchors,
            up_share=tuple((up_H / known_H).tolist()),
            known_labels=tuple(known_H.tolist()),
            tied_labels=tuple(tied_H.tolist()),
        )

    def _no_label(self, where: str, members: list[int], anchors: int, place: int) -> InputError:
        config = self.config
        hidden = any(self.usable[i].known_H[place] for i in members)
        others = set(range(len(self.usable))) - set(members)
        reason = no_label(
            where,
            config.horizons[place],
            [self.minutes(i) for i in members],
            anchors,
            config.expanding_min,
            config.expanding_max,
            hiding_stride=config.anchor_stride if hidden else None,
            tied=config.ties == "drop" and any(self.usable[i].tied_H[place] for i in members),
            others_have=any(self.usable[i].known_H[place] for i in others),
        )
        return InputError(reason)

    def minutes(self, series: int) -> int:
        return int((self.lasts[series] - self.starts[series]).astype(np.int64)) + 1

    def _nothing_usable(self) -> InputError:
        first = self.rejected[0].reason
        more = f" (and {len(self.rejected) - 1} more files)" if len(self.rejected) > 1 else ""
        short = f"; {len(self.too_short)} of them are {lengths(self.too_short)}" if len(self.too_short) > 1 else ""
        return InputError(f"no usable series: {first}{more}{short}")


def _new_columns(path: Path) -> tuple[str, ...]:
    extras = extra_columns(path)
    if computed := sorted(set(extras) & set(FEATURE_NAMES)):
        raise InputError(f"{path}: column '{computed[0]}' has the name of a computed feature: rename it")
    return extras
