"""Metrics per horizon, and their uncertainty.

Shapes: A anchors, H horizons, M series, B bootstrap resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

Values = NDArray[np.floating]

EPSILON = 1e-7
"""Keeps the log loss of a probability of 0 or 1 finite."""


@dataclass(frozen=True)
class HorizonMetrics:
    """One horizon's metrics over its known labels. auc is None where only one class is present."""

    labels: int
    up_share: float
    auc: float | None
    log_loss: float
    brier: float
    accuracy: float


def horizon_metrics(p_A: Values, y_A: NDArray[np.int8]) -> HorizonMetrics:
    """p_A: probability of a rise; y_A: 1, 0 or below 0 for unknown. At least one label must be known."""
    p, y = _known(p_A, y_A)
    return HorizonMetrics(
        labels=len(y),
        up_share=float(y.mean()),
        auc=auc(p, y),
        log_loss=float(log_loss(y, p, labels=[0, 1])),
        brier=float(brier_score_loss(y, p)),
        accuracy=float(((p > 0.5) == y).mean()),
    )


def all_metrics(p_AH: Values, y_AH: NDArray[np.int8]) -> tuple[HorizonMetrics, ...]:
    return tuple(horizon_metrics(p_AH[:, h], y_AH[:, h]) for h in range(p_AH.shape[1]))


def mean_log_loss(metrics: tuple[HorizonMetrics, ...]) -> float:
    return float(np.mean([m.log_loss for m in metrics]))


def mean_auc(metrics: tuple[HorizonMetrics, ...]) -> float:
    """Mean over the horizons that have both classes; 0.5 if none has."""
    known = [m.auc for m in metrics if m.auc is not None]
    return float(np.mean(known)) if known else 0.5


def auc(p: Values, y: NDArray[np.int8], weight: Values | None = None) -> float | None:
    present = y if weight is None else y[weight > 0]
    if len(present) == 0 or present.min() == present.max():
        return None
    return float(roc_auc_score(y, p, sample_weight=weight))


def bootstrap_auc(p_A: Values, y_A: NDArray[np.int8], series_A: NDArray[np.int64], resamples: int, seed: int) -> Values:
    """auc_B under resampling of whole series with replacement (Efron and Tibshirani 1993, chapter 8).

    Anchors of one series share bars and outcomes; to draw them one by one would understate the spread. The
    same seed and series draw the same resamples, so two models' values can be subtracted pair by pair.
    Resamples with one class only are NaN.
    """
    groups, group_A = np.unique(series_A, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws_BM = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    known = y_A >= 0
    p, y, group = p_A[known], y_A[known], group_A[known]
    values = [auc(p, y, weight=draws_M[group].astype(np.float64)) for draws_M in draws_BM]
    return np.array([np.nan if value is None else value for value in values])


def interval(values_B: Values, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval; NaN is left out."""
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values_B, [tail, 100 - tail])
    return float(low), float(high)


def _known(p_A: Values, y_A: NDArray[np.int8]) -> tuple[Values, NDArray[np.int8]]:
    known = y_A >= 0
    return p_A[known].astype(np.float64).clip(EPSILON, 1 - EPSILON), y_A[known]
