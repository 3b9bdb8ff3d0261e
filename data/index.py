"""What is known of the kept series once their bars are written -> the tables and counts of a dataset. Pure.

Shapes: M series, A anchors, T minutes, H horizons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.find import SeriesFile
from hybridtune.data.info import SliceInfo
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import SLICES, InputError, SliceName
from hybridtune.data.shortage import no_label
from hybridtune.data.split import Split, earlier_folds, split
from hybridtune.data.store import Anchors, SeriesTable


@dataclass(frozen=True)
class Counts:
    """Labels of some anchors of one series."""

    anchors: int
    up_H: NDArray[np.int64]
    known_H: NDArray[np.int64]
    tied_H: NDArray[np.int64]

    @classmethod
    def of(cls, y_TH: NDArray[np.int8], tied_TH: NDArray[np.bool_], minutes: NDArray[np.int64]) -> Self:
        y_AH, tied_AH = y_TH[minutes], tied_TH[minutes]
        return cls(len(minutes), (y_AH == 1).sum(axis=0), (y_AH >= 0).sum(axis=0), tied_AH.sum(axis=0))


@dataclass(frozen=True)
class KeptSeries:
    """What is remembered of a series when its bars have been written."""

    file: SeriesFile
    start: np.datetime64
    last: np.datetime64
    """Time of the last bar that a feature or a label uses."""
    bars: int
    unusable_rows: int
    frozen_minutes: NDArray[np.int64]
    """Minutes of the frozen anchors, since launch."""
    usable: Counts
    """Of every minute at which an anchor may stand."""
    frozen: Counts

    @property
    def minutes(self) -> int:
        return int((self.last - self.start).astype(np.int64)) + 1


@dataclass(frozen=True)
class Index:
    table: SeriesTable
    anchors: Anchors
    slices: dict[SliceName, SliceInfo]
    folds: tuple[dict[SliceName, SliceInfo], ...]
    """Train and tune of the walk-forward folds before the last."""


def build_index(kept: Sequence[KeptSeries], config: PrepareConfig) -> Index:
    """Raises InputError if a slice is empty or has no known label at some horizon."""
    start_M, last_M = (np.array(t, dtype="datetime64[m]") for t in zip(*((k.start, k.last) for k in kept), strict=True))
    cut = split(start_M, last_M, config.shares)
    folds = earlier_folds(start_M, last_M, config.shares, config.folds)
    return Index(
        table=SeriesTable(
            name_M=tuple(series.file.name for series in kept),
            category_M=tuple(series.file.category for series in kept),
            start_M=start_M,
            bars_M=np.array([series.bars for series in kept]),
            slice_M=cut.slice_M,
            earlier_folds=tuple(fold.slice_M for fold in folds),
        ),
        anchors=Anchors(
            series_A=np.repeat(np.arange(len(kept)), [len(series.frozen_minutes) for series in kept]),
            minute_A=np.concatenate([series.frozen_minutes for series in kept]),
        ),
        slices={name: _slice_info(kept, config, name, cut) for name in SLICES},
        folds=tuple(
            {name: _slice_info(kept, config, name, fold, f" of fold {n} of {config.folds}") for name in SLICES[:2]}
            for n, fold in enumerate(folds, start=1)
        ),
    )


def _slice_info(
    kept: Sequence[KeptSeries], config: PrepareConfig, name: SliceName, cut: Split, of_fold: str = ""
) -> SliceInfo:
    inside_M = cut.slice_M == SLICES.index(name)
    members = [series for series, inside in zip(kept, inside_M, strict=True) if inside]
    others = [series for series, inside in zip(kept, inside_M, strict=True) if not inside]
    counts = [series.usable if name == "train" else series.frozen for series in members]
    up_H, known_H, tied_H = np.sum([(each.up_H, each.known_H, each.tied_H) for each in counts], axis=0)
    anchors = sum(each.anchors for each in counts)
    for h, known in enumerate(known_H):
        if known == 0:
            raise _no_label(f"slice '{name}'{of_fold}", members, others, config, anchors, h)
    return SliceInfo(
        series=len(members),
        purged=cut.purged_from(name),
        anchors=anchors,
        up_share=tuple((up_H / known_H).tolist()),
        known_labels=tuple(known_H.tolist()),
        tied_labels=tuple(tied_H.tolist()),
    )


def _no_label(
    where: str,
    members: Sequence[KeptSeries],
    others: Sequence[KeptSeries],
    config: PrepareConfig,
    anchors: int,
    h: int,
) -> InputError:
    hidden = any(series.usable.known_H[h] for series in members)
    reason = no_label(
        where,
        config.horizons[h],
        [series.minutes for series in members],
        anchors,
        config.expanding_min,
        config.expanding_max,
        hiding_stride=config.anchor_stride if hidden else None,
        tied=config.ties == "drop" and any(series.usable.tied_H[h] for series in members),
        others_have=any(series.usable.known_H[h] for series in others),
    )
    return InputError(reason)
