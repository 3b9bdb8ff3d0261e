"""The cheap baselines see what an anchor may see, at the anchors of the members, and are as good as told."""

from pathlib import Path

import numpy as np
import pytest

from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.metrics import all_metrics, mean_auc
from hybridtune.search.finalists import baselines
from hybridtune.search.finalists.baselines import LOGISTIC, MEANS, TREES, Baselines, columns_at, training_anchors


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> Baselines:
    return Baselines(dataset, seed=0)


def test_columns_are_the_bar_and_means_over_windows_up_to_it(dataset: Dataset) -> None:
    anchors = dataset.frozen_anchors("tune")
    x_AC = columns_at(dataset, anchors)
    features = len(dataset.info.features)
    assert x_AC.shape == (len(anchors), (2 + len(MEANS)) * features)
    for a in (0, 7, len(anchors) - 1):
        x_TF = dataset.x_TF(int(anchors.series_A[a]))[: anchors.minute_A[a] + 1]
        expected = [x_TF[-1], *(x_TF[-window:].mean(axis=0) for window in MEANS), x_TF.mean(axis=0)]
        np.testing.assert_allclose(x_AC[a], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_a_bar_after_the_anchor_changes_no_column(dataset: Dataset) -> None:
    series, minute = int(dataset.members("tune")[0]), 100
    x_TF = dataset.x_TF(series)
    changed = x_TF.copy()
    changed[minute + 1 :] = 1e6
    whole, cut = (baselines._columns(each, np.array([minute])) for each in (x_TF, changed))
    np.testing.assert_array_equal(whole, cut)


def test_they_are_fitted_on_train_alone(dataset: Dataset) -> None:
    anchors = training_anchors(dataset)
    assert set(anchors.series_A.tolist()) <= set(dataset.members("train").tolist())
    first = dataset.info.expanding_min - 1
    assert ((anchors.minute_A - first) % dataset.info.anchor_stride == 0).all()


def test_many_training_anchors_are_thinned_evenly(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    every = training_anchors(dataset)
    monkeypatch.setattr(baselines, "MOST_ROWS", len(every) // 2 - 1)
    some = training_anchors(dataset)
    assert some.series_A.tolist() == every.series_A[::3].tolist()
    assert some.minute_A.tolist() == every.minute_A[::3].tolist()


def test_they_find_the_planted_signal_on_series_that_they_never_saw(tmp_path: Path) -> None:
    generate(SynthConfig(tokens=200, minutes=500, horizons=(15, 60)), tmp_path / "synth")
    config = PrepareConfig(horizons=(15, 60), expanding_max=300)
    prepare(tmp_path / "synth" / "launches", tmp_path / "dataset", config)
    dataset = Dataset(tmp_path / "dataset")
    y_AH = frozen_labels(dataset, "test")
    found = Baselines(dataset, seed=0).predict("test")
    assert list(found) == [LOGISTIC, TREES]
    for p_AH in found.values():
        assert p_AH.shape == y_AH.shape
        assert ((p_AH > 0) & (p_AH < 1)).all()
        assert mean_auc(all_metrics(p_AH, y_AH)) > 0.6


def test_the_same_data_and_seed_give_the_same_baselines(fitted: Baselines, dataset: Dataset) -> None:
    again = Baselines(dataset, seed=0).predict("blend")
    for name, p_AH in fitted.predict("blend").items():
        np.testing.assert_array_equal(p_AH, again[name])


def test_a_horizon_with_one_class_in_train_gets_the_base_rate(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = baselines.labels_at
    monkeypatch.setattr(baselines, "labels_at", lambda d, a: np.where(real(d, a) == 0, -1, real(d, a)))
    rate_H = np.array(dataset.info.slices["train"].up_share)
    for p_AH in Baselines(dataset, seed=0).predict("blend").values():
        np.testing.assert_array_equal(p_AH, np.broadcast_to(rate_H, p_AH.shape))
