"""Metrics per horizon, and their uncertainty.

Shapes: A anchors, H horizons, G groups of anchors, B bootstrap resamples.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, precision_recall_fscore_support, roc_auc_score

from hybridtune.models.score import HorizonMetrics

Values = NDArray[np.floating]

EPSILON = 1e-7
"""Keeps the log loss of a probability of 0 or 1 finite."""


CALIBRATION_BINS = 15
"""Of equal width (Guo et al. 2017, section 2)."""


def horizon_metrics(p_A: Values, y_A: NDArray[np.int8]) -> HorizonMetrics:
    """p_A: probability of up; y_A: 1, 0 or below 0 for unknown. At least one label must be known."""
    p, y = _known(p_A, y_A)
    predicted_up = p > 0.5
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted_up, average="binary", zero_division=0)
    return HorizonMetrics(
        labels=len(y),
        up_share=float(y.mean()),
        auc=auc(p, y),
        log_loss=float(log_loss(y, p, labels=[0, 1])),
        brier=float(brier_score_loss(y, p)),
        accuracy=float((predicted_up == y).mean()),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        calibration_error=calibration_error(p, y),
    )


def calibration_error(p: Values, y: NDArray[np.int8]) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3) of the probability of up."""
    bin_A = np.minimum((p * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap_B = np.bincount(bin_A, weights=p - y, minlength=CALIBRATION_BINS)
    return float(np.abs(gap_B).sum() / len(p))


def all_metrics(p_AH: Values, y_AH: NDArray[np.int8]) -> tuple[HorizonMetrics, ...]:
    return tuple(horizon_metrics(p_AH[:, h], y_AH[:, h]) for h in range(p_AH.shape[1]))


def base_rate_metrics(rate_H: tuple[float, ...], y_AH: NDArray[np.int8]) -> tuple[HorizonMetrics, ...]:
    """Of the base rate: each horizon's share of up labels in train, which a prediction has to beat."""
    return all_metrics(np.broadcast_to(np.array(rate_H), y_AH.shape), y_AH)


def mean_metric(metrics: tuple[HorizonMetrics, ...], name: str) -> float:
    """Mean over the horizons at which it is known; NaN if it is at none."""
    known = [value for m in metrics if (value := getattr(m, name)) is not None]
    return float(np.mean(known)) if known else float("nan")


def mean_log_loss(metrics: tuple[HorizonMetrics, ...]) -> float:
    return mean_metric(metrics, "log_loss")


def mean_auc(metrics: tuple[HorizonMetrics, ...]) -> float:
    """Mean over the horizons that have both classes; 0.5 if none has."""
    known = [m.auc for m in metrics if m.auc is not None]
    return float(np.mean(known)) if known else 0.5


def auc(p: Values, y: NDArray[np.int8]) -> float | None:
    if len(y) == 0 or y.min() == y.max():
        return None
    return float(roc_auc_score(y, p))


def bootstrap_auc(p_A: Values, y_A: NDArray[np.int8], group_A: NDArray[np.int64], resamples: int, seed: int) -> Values:
    """auc_B under resampling of whole groups with replacement (Efron and Tibshirani 1993, chapter 8).

    Anchors of one series, say, share bars and outcomes; to draw them one by one would understate the spread. The
    same seed and groups draw the same resamples, so two models' values can be subtracted pair by pair.
    Resamples with one class only are NaN.
    """
    known = y_A >= 0
    return weighted_auc(p_A[known], y_A[known], _draws(group_A, resamples, seed)[:, known])


def bootstrap_log_loss(
    p_A: Values, y_A: NDArray[np.int8], group_A: NDArray[np.int64], resamples: int, seed: int
) -> Values:
    """loss_B in nats, under the same resamples as bootstrap_auc; NaN where none of the labels drawn is known."""
    known = y_A >= 0
    likelihood_A = np.where(y_A == 1, p_A, 1 - p_A)[known].astype(np.float64).clip(EPSILON, 1 - EPSILON)
    weight_BA = _draws(group_A, resamples, seed)[:, known]
    total_B = weight_BA.sum(axis=1)
    loss_B: Values = np.divide(
        weight_BA @ -np.log(likelihood_A), total_B, out=np.full(resamples, np.nan), where=total_B > 0
    )
    return loss_B


def _draws(group_A: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.int64]:
    """weight_BA: how often each anchor's group is drawn."""
    groups, number_A = np.unique(group_A, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws_BG = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    return draws_BG[:, number_A]


def weighted_auc(p_A: Values, y_A: NDArray[np.int8], weight_BA: NDArray[np.integer]) -> Values:
    """auc_B: the share of pairs of an up and a down label that p orders correctly, a tie counting half, for many
    weightings.

    The Mann-Whitney form (Hanley and McNeil 1982). scikit-learn's takes one weighting at a time and sorts anew for
    each: a report needs thousands.
    """
    order = np.argsort(p_A, kind="stable")
    first_of_tie = np.flatnonzero(np.diff(p_A[order], prepend=-np.inf))
    up_BG, down_BG = (
        np.add.reduceat(weight_BA[:, order] * (y_A[order] == label), first_of_tie, axis=1).astype(np.float64)
        for label in (1, 0)
    )
    below_BG = np.cumsum(down_BG, axis=1) - down_BG
    pairs_B = up_BG.sum(axis=1) * down_BG.sum(axis=1)
    right_B = (up_BG * (below_BG + down_BG / 2)).sum(axis=1)
    auc_B: Values = np.divide(right_B, pairs_B, out=np.full(len(pairs_B), np.nan), where=pairs_B > 0)
    return auc_B


def interval(values_B: Values, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval; NaN is left out."""
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values_B, [tail, 100 - tail])
    return float(low), float(high)


def _known(p_A: Values, y_A: NDArray[np.int8]) -> tuple[Values, NDArray[np.int8]]:
    known = y_A >= 0
    return p_A[known].astype(np.float64).clip(EPSILON, 1 - EPSILON), y_A[known]
