"""Metrics for each horizon.

Shapes: A anchors, H horizons.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, precision_recall_fscore_support

from hybridtune.models.loss_and_auc import Values, auc, known_labels
from hybridtune.models.score import HorizonMetrics

CALIBRATION_BINS = 15
"""Of equal width (Guo et al. 2017, section 2)."""


def horizon_metrics(p_A: Values, y_A: NDArray[np.int8]) -> HorizonMetrics:
    """p_A: probability of up; y_A: 1, 0 or below 0 for unknown. At least one label must be known."""
    p, y = known_labels(p_A, y_A)
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
