"""Metrics against scikit-learn and values by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from hybridtune.models.loss_and_auc import auc, loss_and_auc
from hybridtune.models.metrics import all_metrics, horizon_metrics, mean_auc, mean_log_loss, mean_metric

Y = np.array([1, 0, 1, 0, 1], dtype=np.int8)
P = np.array([0.9, 0.2, 0.4, 0.6, 0.7])


def test_metrics_equal_values_by_hand_and_those_of_scikit_learn() -> None:
    m = horizon_metrics(P, Y)
    assert (m.labels, m.up_share) == (5, 0.6)
    assert m.auc == pytest.approx(5 / 6) == pytest.approx(sk.roc_auc_score(Y, P))
    assert m.log_loss == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.4, 0.4, 0.7])))
    assert m.log_loss == pytest.approx(sk.log_loss(Y, P))
    assert m.brier == pytest.approx(np.mean((P - Y) ** 2)) == pytest.approx(sk.brier_score_loss(Y, P))
    assert m.accuracy == pytest.approx(3 / 5)


def test_unknown_labels_count_nowhere() -> None:
    y = np.concatenate([Y, [-1, -1]]).astype(np.int8)
    p = np.concatenate([P, [1.0, np.nan]])
    assert horizon_metrics(p, y) == horizon_metrics(P, Y)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_has_no_auc_but_every_other_metric(only: int) -> None:
    m = horizon_metrics(P, np.full(5, only, dtype=np.int8))
    assert m.auc is None
    assert (m.up_share, m.labels) == (only, 5)
    assert m.log_loss == pytest.approx(-np.mean(np.log(P if only else 1 - P)))
    assert m.brier == pytest.approx(np.mean((P - only) ** 2))


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    assert horizon_metrics(np.array([0.0, 1.0], dtype=np.float32), np.array([1, 0], dtype=np.int8)).log_loss == (
        pytest.approx(-math.log(1e-7))
    )


def test_ties_count_half_in_the_auc() -> None:
    assert auc(np.full(5, 0.3), Y) == 0.5


@pytest.mark.parametrize("distinct", [2, 7, 10**6])
def test_the_auc_is_that_of_scikit_learn_with_few_ties_and_with_many(distinct: int) -> None:
    chance = np.random.default_rng(distinct)
    p = chance.integers(distinct, size=3000) / distinct
    y = (chance.random(3000) < 0.2 + 0.3 * p).astype(np.int8)
    assert auc(p, y) == pytest.approx(sk.roc_auc_score(y, p), rel=1e-12)


def test_means_over_the_horizons_leave_out_an_auc_that_is_not_defined() -> None:
    y_AH = np.stack([Y, np.ones(5, dtype=np.int8), 1 - Y], axis=1)
    metrics = all_metrics(np.stack([P, P, P], axis=1), y_AH)
    assert mean_auc(metrics) == pytest.approx((5 / 6 + 1 / 6) / 2)
    assert mean_log_loss(metrics) == pytest.approx(np.mean([m.log_loss for m in metrics]))
    assert mean_auc(all_metrics(P[:, None], np.ones((5, 1), dtype=np.int8))) == 0.5


def test_precision_recall_and_f1_are_those_of_predicting_up_above_one_half() -> None:
    p = np.array([0.9, 0.6, 0.51, 0.5, 0.2, 0.1, 0.7])
    y = np.array([1, 0, 1, 1, 0, 1, -1], dtype=np.int8)
    metrics = horizon_metrics(p, y)
    assert (metrics.labels, metrics.precision, metrics.recall) == (6, pytest.approx(2 / 3), pytest.approx(2 / 4))
    assert metrics.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


@pytest.mark.parametrize(("p", "label"), [(0.1, 1), (0.9, 0), (0.1, 0)])
def test_without_predicted_or_true_ups_precision_and_recall_are_zero(p: float, label: int) -> None:
    metrics = horizon_metrics(np.full(5, p), np.full(5, label, dtype=np.int8))
    assert (metrics.precision, metrics.recall, metrics.f1) == (0.0, 0.0, 0.0)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    """Two of fifteen bins: 0.1 said and a quarter happened, 0.9 said and all happened."""
    p = np.array([0.1] * 4 + [0.9] * 2)
    y = np.array([1, 0, 0, 0, 1, 1], dtype=np.int8)
    assert horizon_metrics(p, y).calibration_error == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert horizon_metrics(np.array([0.0, 1.0]), np.array([0, 1], dtype=np.int8)).calibration_error < 1e-6


def test_calibrated_probabilities_have_a_small_calibration_error_and_shifted_ones_theirs() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.8, 100_000)
    y = (rng.random(100_000) < p).astype(np.int8)
    assert horizon_metrics(p, y).calibration_error < 0.01
    assert horizon_metrics(p + 0.1, y).calibration_error == pytest.approx(0.1, abs=0.01)


def test_the_mean_leaves_out_horizons_at_which_nothing_is_known() -> None:
    y_AH = np.array([[1, 1], [0, 1]], dtype=np.int8)
    metrics = all_metrics(np.array([[0.8, 0.5], [0.1, 0.5]]), y_AH)
    assert (metrics[0].auc, metrics[1].auc) == (1.0, None)
    assert mean_metric(metrics, "auc") == 1.0
    assert np.isnan(mean_metric(metrics[1:], "auc"))


def test_loss_and_auc_are_the_means_of_all_metrics() -> None:
    rng = np.random.default_rng(0)
    p_AH, y_AH = rng.random((200, 3)).astype(np.float32), rng.integers(-1, 2, (200, 3)).astype(np.int8)
    p_AH[0], y_AH[0] = 0.0, 1
    y_AH[:, 2] = 1
    metrics = all_metrics(p_AH, y_AH)
    assert loss_and_auc(p_AH, y_AH) == pytest.approx((mean_log_loss(metrics), mean_auc(metrics)), rel=1e-12)
    # A horizon of which the chosen anchors know nothing is left out.
    y_AH[:, 1] = -1
    known = all_metrics(p_AH[:, [0, 2]], y_AH[:, [0, 2]])
    assert loss_and_auc(p_AH, y_AH) == pytest.approx((mean_log_loss(known), mean_auc(known)), rel=1e-12)
