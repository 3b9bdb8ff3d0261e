"""Metrics for each horizon.

Shapes: A anchors, H horizons.
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
    gap_C = np.bincount(bin_A, weights=p - y, minlength=CALIBRATION_BINS)
    return float(np.abs(gap_C).sum() / len(p))


def loss_and_auc(p_AH: Values, y_AH: NDArray[np.int8]) -> tuple[float, float]:
    """mean_log_loss and mean_auc of all_metrics, without what the others cost. Of the horizons at which any label is
    known, which is one at least.
    """
    losses, aucs = [], []
    for p_A, y_A in zip(p_AH.T, y_AH.T, strict=True):
        p, y = _known(p_A, y_A)
        if len(y) == 0:
            continue
        losses.append(-float(np.log(np.where(y == 1, p, 1 - p)).mean()))
        aucs.append(auc(p, y))
    known = [value for value in aucs if value is not None]
    return float(np.mean(losses)), float(np.mean(known)) if known else 0.5


def all_metrics(p_AH: Values, y_AH: NDArray[np.int8]) -> tuple[HorizonMetrics, ...]:
    return tuple(horizon_metrics(p_AH[:, h], y_AH[:, h]) for h in range(p_AH.shape[1]))


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


def _known(p_A: Values, y_A: NDArray[np.int8]) -> tuple[Values, NDArray[np.int8]]:
    known = y_A >= 0
    return p_A[known].astype(np.float64).clip(EPSILON, 1 - EPSILON), y_A[known]
