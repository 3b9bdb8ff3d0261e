"""Which blending method and which calibration: by cross-validation over blocks of the blend slice.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.metrics import all_metrics, mean_log_loss
from hybridtune.search.finalists.blend_methods import Floats, Labels, Method, mix, two_class_horizons
from hybridtune.search.finalists.calibrate import KINDS
from hybridtune.search.finalists.predictions import Predictions

FOLDS = 5

Predictor = Callable[[Floats], Floats]
"""p_NAH -> p_AH"""


def held_out(predictions: Predictions, fit: Callable[[Floats, Labels], Predictor]) -> Floats:
    """p_AH: each block of series that launched one after another, as predicted by what was fitted on the others. Needs
    two series.
    """
    p_AH = np.full(predictions.y_AH.shape, np.nan)
    for held_A in _blocks(predictions):
        predictor = fit(predictions.p_NAH[:, ~held_A], predictions.y_AH[~held_A])
        p_AH[held_A] = predictor(predictions.p_NAH[:, held_A])
    return p_AH


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


def _blocks(predictions: Predictions) -> Iterator[NDArray[np.bool_]]:
    series = predictions.series
    for block in np.array_split(np.array(series), min(FOLDS, len(series))):
        yield np.isin(predictions.series_A, block)


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
