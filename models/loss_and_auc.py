"""What is computed at every look at a slice. Every worker imports it: it needs numpy alone, as sklearn with scipy takes
nearly as long to import as torch.

Shapes: A anchors, H horizons.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]

EPSILON = 1e-7
"""Keeps the log loss of a probability of 0 or 1 finite."""


def loss_and_auc(p_AH: Values, y_AH: NDArray[np.int8]) -> tuple[float, float]:
    """models.metrics' mean_log_loss and mean_auc of all_metrics, without what the others cost. Of the horizons at which
    any label is known, which is one at least.
    """
    losses, aucs = [], []
    for p_A, y_A in zip(p_AH.T, y_AH.T, strict=True):
        p, y = known_labels(p_A, y_A)
        if len(y) == 0:
            continue
        losses.append(-float(np.log(np.where(y == 1, p, 1 - p)).mean()))
        aucs.append(auc(p, y))
    known = [value for value in aucs if value is not None]
    return float(np.mean(losses)), float(np.mean(known)) if known else 0.5


def auc(p_A: Values, y_A: NDArray[np.int8]) -> float | None:
    """Area under the ROC curve, as the Mann-Whitney statistic (Hanley and McNeil 1982): the share of the pairs of an up
    and a down in which the up has the higher p, ties counted half. None unless both are there. y_A: 1 or 0, all known.
    """
    ups = int((y_A == 1).sum())
    downs = len(y_A) - ups
    if ups == 0 or downs == 0:
        return None
    _, place_A, count_U = np.unique(p_A, return_inverse=True, return_counts=True)
    # Of each distinct value the mean rank of those that have it, from 1.
    rank_U = count_U.cumsum() - (count_U - 1) / 2
    rank_sum = float(rank_U[place_A][y_A == 1].sum())
    return (rank_sum - ups * (ups + 1) / 2) / (ups * downs)


def known_labels(p_A: Values, y_A: NDArray[np.int8]) -> tuple[Values, NDArray[np.int8]]:
    """Both where the label is known, the probabilities off 0 and 1."""
    known = y_A >= 0
    return p_A[known].astype(np.float64).clip(EPSILON, 1 - EPSILON), y_A[known]
