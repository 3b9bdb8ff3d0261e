"""Fits each kind of calibration to one horizon. Pure.

Shapes: A anchors.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from hybridtune.models.bundle.calibration import Calibration
from hybridtune.models.loss_and_auc import EPSILON
from hybridtune.search.finalists.blend_methods import Floats, Labels

TEMPERATURES = (0.1, 10.0)


def none(p_A: Floats, y_A: Labels) -> Calibration:  # noqa: ARG001 the one signature of a kind
    return Calibration()


def temperature(p_A: Floats, y_A: Labels) -> Calibration:
    """The temperature with the lowest log loss."""
    p, y = p_A[y_A >= 0], y_A[y_A >= 0]

    def loss(log_temperature: float) -> float:
        calibrated = Calibration(kind="temperature", temperature=float(np.exp(log_temperature))).apply(p)
        return float(-np.log(np.where(y == 1, calibrated, 1 - calibrated).clip(EPSILON)).mean())

    best = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return Calibration(kind="temperature", temperature=float(np.exp(best.x)))


def isotonic(p_A: Floats, y_A: Labels) -> Calibration:
    """The non-decreasing steps with the least squared error (Zadrozny and Elkan 2002).

    Kept from 0 and 1 by Laplace's rule: no number of anchors makes certain.
    """
    p, y = p_A[y_A >= 0], y_A[y_A >= 0]
    certain = 1 / (len(y) + 2)
    fitted = IsotonicRegression(y_min=certain, y_max=1 - certain).fit(p, y)
    return Calibration(
        kind="isotonic", thresholds=tuple(fitted.X_thresholds_.tolist()), values=tuple(fitted.y_thresholds_.tolist())
    )


KINDS: Mapping[str, Callable[[Floats, Labels], Calibration]] = {
    "none": none,
    "temperature": temperature,
    "isotonic": isotonic,
}
"""In case of a tie the first wins."""
