"""Which blending method and which calibration: by cross-validation over blocks of time in the blend slice.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import MASKED
from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.metrics import all_metrics, mean_log_loss
from hybridtune.search.finalists.blend_methods import Floats, Labels, Method, mix, two_class_horizons
from hybridtune.search.finalists.calibrate import KINDS
from hybridtune.search.finalists.predictions import Predictions

FOLDS = 5

Predictor = Callable[[Floats], Floats]
"""p_NAH -> p_AH"""


def held_out(predictions: Predictions, fit: Callable[[Floats, Labels], Predictor]) -> Floats:
    """p_AH: each block of time as predicted by what was fitted on the other anchors, less the labels that overlap the
    block, as they tell what happened in it. Needs two different times.
    """
    p_AH = np.full(predictions.y_AH.shape, np.nan)
    for held_A in _blocks(predictions.time_A):
        labels_AH = _apart(predictions, held_A)
        predictor = fit(predictions.p_NAH[:, ~held_A], labels_AH[~held_A])
        p_AH[held_A] = predictor(predictions.p_NAH[:, held_A])
    return p_AH


def _blocks(time_A: NDArray[np.datetime64]) -> Iterator[NDArray[np.bool_]]:
    """At most FOLDS blocks of about as many anchors; anchors of the same minute stay together."""
    ordered = np.sort(time_A)
    cuts = np.unique(ordered[[len(ordered) * fold // FOLDS for fold in range(1, FOLDS)]])
    block_A = np.searchsorted(cuts, time_A, side="right")
    for block in np.unique(block_A):
        yield block_A == block


def _apart(predictions: Predictions, held_A: NDArray[np.bool_]) -> Labels:
    """The labels, but masked at each horizon where that is longer than the time to the held-out anchors."""
    first, last = predictions.time_A[held_A].min(), predictions.time_A[held_A].max()
    horizon_H = np.array(predictions.horizons, dtype="timedelta64[m]")
    time_A1 = predictions.time_A[:, None]
    overlaps_AH = (time_A1 + horizon_H > first) & (time_A1 < last + horizon_H)
    return np.where(overlaps_AH, MASKED, predictions.y_AH).astype(np.int8)


def cross_validated_log_loss(method: Method, predictions: Predictions) -> float:
    """Mean over the horizons."""

    def fit(p_NAH: Floats, y_AH: Labels) -> Predictor:
        return partial(mix, weights_NH=method(p_NAH, y_AH))

    return mean_log_loss(all_metrics(held_out(predictions, fit), predictions.y_AH))


def calibration_losses(method: Method, predictions: Predictions) -> dict[str, tuple[float, ...]]:
    """Kind of calibration -> cross-validated log loss for each horizon, weights and calibration both fitted anew."""
    losses = {}
    for kind in KINDS:

        def fit(p_NAH: Floats, y_AH: Labels, kind: str = kind) -> Predictor:
            weights_NH = method(p_NAH, y_AH)
            fitted_H = fit_calibration(mix(p_NAH, weights_NH), y_AH, (kind,) * y_AH.shape[1])
            return lambda p_NAH: calibrated(mix(p_NAH, weights_NH), fitted_H)

        metrics_H = all_metrics(held_out(predictions, fit), predictions.y_AH)
        losses[kind] = tuple(metrics.log_loss for metrics in metrics_H)
    return losses


def fit_calibration(p_AH: Floats, y_AH: Labels, kind_H: tuple[str, ...]) -> tuple[Calibration, ...]:
    """One for each horizon; none where there is but one class."""
    two_class_H = two_class_horizons(y_AH)
    return tuple(
        KINDS[kind if two_classes else "none"](p_AH[:, h], y_AH[:, h])
        for h, (kind, two_classes) in enumerate(zip(kind_H, two_class_H, strict=True))
    )


def method_losses(every: Mapping[str, Method], fitting: Predictions) -> dict[str, float]:
    """Cross-validated log loss of every method; of uniform weights alone where one series is all there is."""
    if len(fitting.series) < 2:
        p_AH = fitting.p_NAH.mean(axis=0)
        return {"uniform": mean_log_loss(all_metrics(p_AH, fitting.y_AH))}
    return {name: cross_validated_log_loss(method, fitting) for name, method in every.items()}


def chosen_kinds(losses: Mapping[str, tuple[float, ...]], horizons: int) -> tuple[str, ...]:
    """The kind of calibration with the lowest loss at each horizon."""
    if not losses:
        return ("none",) * horizons
    return tuple(min(losses, key=lambda kind: losses[kind][h]) for h in range(horizons))
