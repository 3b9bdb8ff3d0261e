"""What is known of the kept series once their bars are written -> the tables and counts of a dataset. Pure.

Shapes: M series, A anchors, T minutes, H horizons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.find import SeriesFile
from hybridtune.data.info import SliceInfo
from hybridtune.data.labels import Labels
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import SLICES, InputError, SliceName
from hybridtune.data.shortage import no_label
from hybridtune.data.split import Split, earlier_folds, split
from hybridtune.data.store import Anchors, SeriesTable
from hybridtune.data.suspects import ExtraSample

Counted = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Labels at some minutes of one series."""

    minutes: int
    """At which an anchor could stand: enough bars come before them."""
    anchors: int
    """Those of them with at least one known label."""
    up_H: Counted
    known_H: Counted
    settled_H: Counted
    tied_H: Counted
    ended_H: Counted
    unobserved_H: Counted

    @classmethod
    def of(cls, labels: Labels, minutes: NDArray[np.int64], *, goes_on: bool) -> Self:
        """goes_on: whether the series has bars after those that the labels know of."""
        y_AH = labels.y_TH[minutes]
        known_AH = y_AH >= 0
        return cls(
            minutes=len(minutes),
            anchors=int(known_AH.any(axis=1).sum()),
            up_H=(y_AH == 1).sum(axis=0),
            known_H=known_AH.sum(axis=0),
            settled_H=(labels.settled_TH[minutes] & known_AH & (not goes_on)).sum(axis=0),
            tied_H=labels.tied_TH[minutes].sum(axis=0),
            ended_H=labels.ended_TH[minutes].sum(axis=0),
            unobserved_H=labels.unobserved_TH[minutes].sum(axis=0),
        )

    @classmethod
    def sum(cls, counts: Sequence[Self]) -> Self:
        """counts: at least one."""
        return cls(**{field.name: sum(getattr(each, field.name) for each in counts) for field in fields(cls)})


@dataclass(frozen=True)
class KeptSeries:
    """What is remembered of a series when its bars have been written."""

    file: SeriesFile
    start: np.datetime64
    last: np.datetime64
    """Time of the last bar that a feature or a label uses."""
    bars: int
    second_bar: int
    """Its minute since the first."""
    unusable_rows: int
    frozen_minutes: NDArray[np.int64]
    """Minutes of the frozen anchors, since launch."""
    extras: ExtraSample
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
    total = Counts.sum(counts)
    for h, known in enumerate(total.known_H):
        if known == 0:
            raise _no_label(f"slice '{name}'{of_fold}", members, others, config, total.anchors, h)
    return SliceInfo(
        series=len(members),
        purged=cut.purged_from(name),
        minutes=total.minutes,
        anchors=total.anchors,
        up_share=tuple((total.up_H / total.known_H).tolist()),
        known_labels=tuple(total.known_H.tolist()),
        settled_labels=tuple(total.settled_H.tolist()),
        tied_labels=tuple(total.tied_H.tolist()),
        ended_labels=tuple(total.ended_H.tolist()),
        unobserved_labels=tuple(total.unobserved_H.tolist()),
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
        exact=config.labels == "exact",
    )
    return InputError(reason)
