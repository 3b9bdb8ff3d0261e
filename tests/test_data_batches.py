"""Batches: just so many usable anchors, of train only, and the same again from the same seed and position."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hybridtune.data.batches import (
    Batch,
    TrainingStream,
    anchor_batches,
    frozen_labels,
    made_ahead,
    make_batch,
    padded_minutes,
)
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import MASKED, SLICES, SliceName
from hybridtune.data.store import Dataset, usable_minutes
from hybridtune.data.synth import SynthConfig, generate


def assert_same(one: Batch, other: Batch) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def series_of(batch: Batch, dataset: Dataset) -> list[int]:
    """The series of each row, recognised by its bars."""
    found = []
    for row, length in enumerate(batch.length_M):
        x_TF = batch.x_MTF[row, :length]
        (series,) = [i for i in range(len(dataset)) if np.array_equal(dataset.x_TF(i)[:length], x_TF)]
        found.append(series)
    return found


@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_a_batch_has_just_the_anchors_asked_for(dataset: Dataset, size: int) -> None:
    stream = TrainingStream(dataset, seed=0, anchors_per_series=16)
    for _ in range(4):
        batch = stream.take(size)
        assert batch.valid_MK.sum() == size
        assert len(batch.length_M) == -(-size // 16)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(dataset: Dataset) -> None:
    first, again, other = (TrainingStream(dataset, seed, 16) for seed in (1, 1, 2))
    for _ in range(5):
        batch = first.take(40)
        assert_same(batch, again.take(40))
        unlike = other.take(40)
        assert batch.x_MTF.shape != unlike.x_MTF.shape or (batch.x_MTF != unlike.x_MTF).any()


def test_another_seed_draws_other_anchors_of_a_series(dataset: Dataset) -> None:
    drawn = []
    for seed in (1, 2):
        batch = TrainingStream(dataset, seed, 16).take(16 * 13)
        drawn.append(dict(zip(series_of(batch, dataset), batch.anchor_MK.tolist(), strict=True)))
    assert drawn[0].keys() == drawn[1].keys()
    assert all(minutes != drawn[1][series] for series, minutes in drawn[0].items())


def test_a_stream_resumed_at_a_position_equals_one_never_stopped(dataset: Dataset) -> None:
    never_stopped, sizes = TrainingStream(dataset, 3, 16), [64, 64, 10, 64, 30, 64]
    stopped = TrainingStream(dataset, 3, 16)
    for size in sizes:
        resumed = TrainingStream(dataset, 3, 16)
        resumed.position = stopped.position
        assert_same(never_stopped.take(size), resumed.take(size))
        stopped = resumed


def test_every_train_series_comes_once_an_epoch_in_an_order_of_its_own(dataset: Dataset) -> None:
    stream, members = TrainingStream(dataset, 0, 16), dataset.members("train").tolist()
    epochs = [series_of(stream.take(16 * len(members)), dataset) for _ in range(3)]
    assert all(sorted(epoch) == sorted(members) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_all_usable_anchors_of_train_are_drawn_and_no_others(dataset: Dataset) -> None:
    stream, seen = TrainingStream(dataset, 0, 90), set()
    for _ in range(20):
        batch = stream.take(90 * 13)
        for row, series in enumerate(series_of(batch, dataset)):
            minutes = batch.anchor_MK[row][batch.valid_MK[row]].tolist()
            assert len(set(minutes)) == len(minutes)
            seen |= {(series, minute) for minute in minutes}
    usable = {
        (int(series), int(minute))
        for series in dataset.members("train")
        for minute in usable_minutes(dataset.y_TH(int(series)))
    }
    assert seen == usable


def test_a_series_without_a_label_at_the_chosen_horizons_gives_nothing(tmp_path: Path) -> None:
    """Every other launch ends too early for the longer horizon."""
    horizons = (5, 60)
    made = SynthConfig(tokens=40, minutes=200, spacing_minutes=200.0, horizons=horizons, expanding_max=240)
    generate(made, tmp_path / "raw")
    for number, path in enumerate(sorted((tmp_path / "raw" / "launches").rglob("*.parquet"))):
        if number % 2:
            pd.read_parquet(path).iloc[:70].to_parquet(path)
    config = PrepareConfig(horizons=horizons, expanding_max=240, labels="exact")
    prepare(tmp_path / "raw" / "launches", tmp_path / "dataset", config)
    later = Dataset(tmp_path / "dataset").only((60,))
    with_labels = {int(series) for series in later.members("train") if len(usable_minutes(later.y_TH(int(series))))}
    assert 0 < len(with_labels) < len(later.members("train"))
    batch = TrainingStream(later, 0, 4).take(4 * 2 * len(with_labels))
    assert set(series_of(batch, later)) == with_labels
    assert (batch.y_MKH[batch.valid_MK] >= 0).all()


def test_a_row_holds_its_bars_up_to_the_last_anchor_with_zeros_behind(dataset: Dataset) -> None:
    batch = make_batch(dataset, [3, 0], [np.array([70, 90, 200]), np.array([61])])
    assert batch.length_M.tolist() == [201, 62]
    assert batch.x_MTF.shape[:2] == (2, padded_minutes(201)) == (2, 240)
    np.testing.assert_array_equal(batch.x_MTF[0, :201], dataset.x_TF(3)[:201])
    assert not batch.x_MTF[0, 201:].any()
    np.testing.assert_array_equal(batch.x_MTF[1, :62], dataset.x_TF(0)[:62])
    assert not batch.x_MTF[1, 62:].any()
    assert batch.anchor_MK.tolist() == [[70, 90, 200], [61, 0, 0]]
    assert batch.valid_MK.tolist() == [[True, True, True], [True, False, False]]
    np.testing.assert_array_equal(batch.y_MKH[0], dataset.y_TH(3)[[70, 90, 200]])
    np.testing.assert_array_equal(batch.y_MKH[1, 0], dataset.y_TH(0)[61])
    assert (batch.y_MKH[1, 1:] == MASKED).all()


@pytest.mark.parametrize("name", SLICES[1:])
@pytest.mark.parametrize("series_per_batch", [1, 3, 100])
def test_batches_of_anchors_give_every_frozen_anchor_once_in_order_with_its_labels(
    dataset: Dataset, name: SliceName, series_per_batch: int
) -> None:
    anchors, visited, labels = dataset.frozen_anchors(name), [], []
    for batch in anchor_batches(dataset, dataset.frozen_anchors(name), series_per_batch):
        assert len(batch.length_M) <= series_per_batch
        labels.append(batch.y_MKH[batch.valid_MK])
        for row, series in enumerate(series_of(batch, dataset)):
            visited += [(series, minute) for minute in batch.anchor_MK[row][batch.valid_MK[row]].tolist()]
    assert visited == list(zip(anchors.series_A.tolist(), anchors.minute_A.tolist(), strict=True))
    assert set(Counter(visited).values()) == {1}
    np.testing.assert_array_equal(np.concatenate(labels), frozen_labels(dataset, name))


def test_batches_made_ahead_are_the_same_in_another_thread(dataset: Dataset) -> None:
    makers = []

    def batches() -> Iterator[Batch]:
        stream = TrainingStream(dataset, seed=3, anchors_per_series=16)
        for _ in range(5):
            makers.append(threading.current_thread())
            yield stream.take(20)

    ahead, plain = list(made_ahead(batches())), list(batches())
    assert len(ahead) == len(plain) == 5
    for one, other in zip(ahead, plain, strict=True):
        assert_same(one, other)
    assert threading.current_thread() not in makers[:5]


def test_what_fails_ahead_fails_where_the_batch_is_used(dataset: Dataset) -> None:
    def batches() -> Iterator[Batch]:
        yield TrainingStream(dataset, seed=0, anchors_per_series=16).take(8)
        raise OSError("the dataset's disk is gone")

    ahead = made_ahead(batches())
    assert next(ahead).valid_MK.sum() == 8
    with pytest.raises(OSError, match="disk is gone"):
        next(ahead)
