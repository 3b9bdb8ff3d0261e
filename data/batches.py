"""Anchors -> batches. A batch holds whole series prefixes; all anchors of a series share one pass over it.

Shapes: M series, T minutes, K anchors of a series, F features, H horizons, A anchors in a row.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import MASKED, SliceName
from hybridtune.data.store import Anchors, Dataset, usable_minutes

MINUTES_STEP = 48
"""Divides the default history of 720."""


@dataclass(frozen=True)
class Batch:
    """A series shorter than T is padded with zeros after its end; a missing anchor is anchor 0 with every
    label masked.
    """

    x_MTF: NDArray[np.float32]
    length_M: NDArray[np.int64]
    anchor_MK: NDArray[np.int64]
    y_MKH: NDArray[np.int8]
    valid_MK: NDArray[np.bool_]


def make_batch(dataset: Dataset, series: list[int], minutes: list[NDArray[np.int64]]) -> Batch:
    """The given minutes of the given series, with their labels."""
    labels = [dataset.y_TH(index)[anchors] for index, anchors in zip(series, minutes, strict=True)]
    return pad_batch([dataset.x_TF(index) for index in series], minutes, labels)


def pad_batch(
    series: list[NDArray[np.float32]], minutes: list[NDArray[np.int64]], labels: list[NDArray[np.int8]]
) -> Batch:
    """series: x_TF of each; minutes: its anchors, ascending, at least one; labels: y_KH of those. Bars after
    a series' last anchor are left out.
    """
    length_M = np.array([anchors[-1] + 1 for anchors in minutes])
    widest = max(len(anchors) for anchors in minutes)
    x_MTF = np.zeros((len(series), padded_minutes(length_M.max()), series[0].shape[1]), dtype=np.float32)
    anchor_MK = np.zeros((len(series), widest), dtype=np.int64)
    y_MKH = np.full((len(series), widest, labels[0].shape[1]), MASKED, dtype=np.int8)
    valid_MK = np.zeros((len(series), widest), dtype=np.bool_)
    for row, (x_TF, anchors, y_KH) in enumerate(zip(series, minutes, labels, strict=True)):
        x_MTF[row, : length_M[row]] = x_TF[: length_M[row]]
        anchor_MK[row, : len(anchors)] = anchors
        y_MKH[row, : len(anchors)] = y_KH
        valid_MK[row, : len(anchors)] = True
    return Batch(x_MTF, length_M, anchor_MK, y_MKH, valid_MK)


def padded_minutes(longest: int) -> int:
    """How many minutes a batch is padded to. oneDNN caches a kernel for each input shape; arbitrary lengths would grow
    that cache to gigabytes, so lengths are rounded up.
    """
    return -(-int(longest) // MINUTES_STEP) * MINUTES_STEP


class TrainingStream:
    """An endless, seeded walk over the train slice.

    Every epoch visits each series once in an order of its own and draws `anchors_per_series` of its anchors
    without replacement. What a visit draws depends on (seed, visit) alone, so a stream that goes on from
    `position` gives what one never stopped would have given. A series without a label at the dataset's horizons
    gives nothing; `prepare` sees to it that some series has one.
    """

    def __init__(self, dataset: Dataset, seed: int, anchors_per_series: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._anchors_per_series = anchors_per_series
        self._members = dataset.members("train")
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)
        self.position = 0

    def take(self, anchors: int) -> Batch:
        """A batch of just so many anchors, of as many series as that needs."""
        series: list[int] = []
        minutes: list[NDArray[np.int64]] = []
        labels: list[NDArray[np.int8]] = []
        while anchors > 0:
            index, y_TH, drawn = self._visit(self.position)
            self.position += 1
            if len(drawn) == 0:
                continue
            drawn = np.sort(drawn[:anchors])
            series.append(index)
            minutes.append(drawn)
            labels.append(y_TH[drawn])
            anchors -= len(drawn)
        return pad_batch([self._dataset.x_TF(index) for index in series], minutes, labels)

    def _visit(self, number: int) -> tuple[int, NDArray[np.int8], NDArray[np.int64]]:
        """The series, its labels, the minutes drawn."""
        epoch, index = divmod(number, len(self._members))
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, 0, epoch])
            self._epoch, self._order = epoch, rng.permutation(self._members)
        series = int(self._order[index])
        y_TH = self._dataset.y_TH(series)
        rng = np.random.default_rng([self._seed, 1, number])
        return series, y_TH, rng.permutation(usable_minutes(y_TH))[: self._anchors_per_series]


def made_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same ones, each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def anchor_batches(dataset: Dataset, anchors: Anchors, series_per_batch: int) -> Iterator[Batch]:
    """All of them in their order: the valid anchors of the batches, one after another."""
    groups = list(by_series(anchors))
    for first in range(0, len(groups), series_per_batch):
        series, minutes = zip(*groups[first : first + series_per_batch], strict=True)
        yield make_batch(dataset, list(series), list(minutes))


def frozen_labels(dataset: Dataset, name: SliceName) -> NDArray[np.int8]:
    """y_AH of the frozen anchors of a slice."""
    return labels_at(dataset, dataset.frozen_anchors(name))


def labels_at(dataset: Dataset, anchors: Anchors) -> NDArray[np.int8]:
    """y_AH of some anchors."""
    return np.concatenate([dataset.y_TH(series)[minutes] for series, minutes in by_series(anchors)])


def by_series(anchors: Anchors) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each series with the minutes of its anchors."""
    firsts = np.flatnonzero(np.diff(anchors.series_A, prepend=-1))
    yield from zip(anchors.series_A[firsts].tolist(), np.split(anchors.minute_A, firsts[1:]), strict=True)
