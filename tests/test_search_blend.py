"""Methods and calibrations are scored on series that they never saw."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from hybridtune.search.finalists.blend_methods import Floats, Labels, methods, uniform
from hybridtune.search.finalists.cross_validation import (
    FOLDS,
    calibration_losses,
    chosen_kinds,
    cross_validated_log_loss,
    fit_calibration,
    held_out,
    method_losses,
)
from hybridtune.search.finalists.predictions import Predictions

METHODS = methods(["hybrid_lstm", "basic_lstm", "tcn"])
SERIES, ANCHORS_PER_SERIES, HORIZONS = 40, 25, 2
MINUTES = (15, 720)
ANCHORS = SERIES * ANCHORS_PER_SERIES


def outcomes(rng: np.random.Generator) -> tuple[Floats, Labels]:
    """The true probabilities and what came of them."""
    truth_AH = rng.uniform(0.1, 0.9, size=(ANCHORS, HORIZONS))
    return truth_AH, (rng.uniform(size=truth_AH.shape) < truth_AH).astype(np.int8)


def noise(rng: np.random.Generator, members: int) -> Floats:
    return rng.uniform(0.1, 0.9, size=(members, ANCHORS, HORIZONS))


def predictions(p_NAH: Floats, y_AH: Labels, series: int = SERIES) -> Predictions:
    count = len(y_AH)
    series_A = np.repeat(np.arange(100, 100 + series), -(-count // series))[:count]
    # A series a day, so that labels of one never overlap those of another.
    time_A = np.datetime64("2025-01-01", "m") + series_A * 1440 + np.arange(count) % ANCHORS_PER_SERIES
    return Predictions(p_NAH, y_AH, series_A, time_A, MINUTES)


def losses(p_AH: Floats, y_AH: Labels) -> Floats:
    said = np.where(y_AH == 1, p_AH, 1 - p_AH)
    mean: Floats = -np.log(said).mean(axis=0)
    return mean


def test_cross_validation_never_fits_on_the_series_that_it_scores() -> None:
    """Each member says the number of the series, so a method sees what it is fitted on."""
    blend = predictions(noise(np.random.default_rng(5), 2), outcomes(np.random.default_rng(5))[1])
    told = replace(blend, p_NAH=np.broadcast_to(blend.series_A[None, :, None] / 1000, blend.p_NAH.shape))
    fitted_on: list[set[int]] = []

    def recording(p_NAH: Floats, y_AH: Labels) -> Floats:
        assert p_NAH.shape[1:] == y_AH.shape
        fitted_on.append(set(np.round(np.unique(p_NAH) * 1000).astype(int).tolist()))
        return uniform(p_NAH, y_AH)

    cross_validated_log_loss(recording, told)
    everything = set(blend.series)
    held_out = [everything - seen for seen in fitted_on]
    assert len(held_out) == FOLDS
    assert sum(map(len, held_out)) == len(everything)  # with the next line: each series is held out once
    assert set().union(*held_out) == everything
    # Blocks of neighbours in time, not single series strewn about.
    assert all(max(block) - min(block) == len(block) - 1 for block in held_out)


def test_no_label_that_is_fitted_overlaps_the_held_out_block() -> None:
    """Launches at one time as often as not: what is held out is a stretch of time, not a group of series."""
    rng = np.random.default_rng(8)
    blend = predictions(noise(rng, 1), outcomes(rng)[1])
    minute_A = rng.integers(0, 6000, ANCHORS)
    # The member tells the minute, so that a method sees when its labels are from.
    minutes = Predictions(
        np.broadcast_to(minute_A[None, :, None] / 10_000, blend.p_NAH.shape),
        blend.y_AH,
        blend.series_A,
        np.datetime64("2025-01-01", "m") + minute_A,
        MINUTES,
    )
    held: list[tuple[float, float]] = []
    known: list[list[NDArray[np.float64]]] = []

    def fit(p_NAH: Floats, y_AH: Labels) -> Callable[[Floats], Floats]:
        known.append([np.round(p_NAH[0, y_AH[:, h] >= 0, h] * 10_000) for h in range(HORIZONS)])

        def predict(p_NAH: Floats) -> Floats:
            held.append((np.round(p_NAH.min() * 10_000), np.round(p_NAH.max() * 10_000)))
            return p_NAH[0]

        return predict

    assert np.isfinite(held_out(minutes, fit)).all()
    assert len(held) == FOLDS
    assert [last < first for (_, last), (first, _) in pairwise(sorted(held))] == [True] * (FOLDS - 1)
    for (first, last), known_H in zip(held, known, strict=True):
        for horizon, minute in zip(MINUTES, known_H, strict=True):
            assert len(minute)
            assert ((minute + horizon <= first) | (minute >= last + horizon)).all()


def test_the_scored_loss_is_that_of_the_held_out_predictions() -> None:
    """A method that goes wrong wherever it is not fitted must look as bad as it is."""
    rng = np.random.default_rng(6)
    truth_AH, y_AH = outcomes(rng)
    liar = np.where(y_AH == 1, 0.01, 0.99)

    def overfitted(p_NAH: Floats, y_AH: Labels) -> Floats:
        """All on the liar, as it is fitted on less than everything."""
        weights_NH = np.zeros((2, HORIZONS))
        weights_NH[1 if len(y_AH) < ANCHORS else 0] = 1
        return weights_NH

    blend = predictions(np.stack([truth_AH, liar]), y_AH)
    assert cross_validated_log_loss(overfitted, blend) == pytest.approx(-np.log(0.01))
    assert cross_validated_log_loss(uniform, predictions(np.stack([truth_AH] * 2), y_AH)) == pytest.approx(
        losses(truth_AH, y_AH).mean()
    )


def test_one_series_alone_can_only_be_weighed_uniformly() -> None:
    rng = np.random.default_rng(7)
    _, y_AH = outcomes(rng)
    scored = method_losses(METHODS, predictions(noise(rng, 3), y_AH, series=1))
    assert list(scored) == ["uniform"]
    assert set(method_losses(METHODS, predictions(noise(rng, 3), y_AH, series=2))) == set(METHODS)


def test_a_horizon_that_only_the_last_series_know_can_be_cross_validated() -> None:
    """Short launches have labels at the short horizons only."""
    rng = np.random.default_rng(10)
    truth_AH, y_AH = outcomes(rng)
    y_AH[: -2 * ANCHORS_PER_SERIES, 1] = -1
    scored = method_losses(METHODS, predictions(np.concatenate([noise(rng, 2), truth_AH[None]]), y_AH))
    assert set(scored) == set(METHODS)
    assert np.isfinite(list(scored.values())).all()


@pytest.mark.parametrize(("squeezed", "temperature"), [(0.5, 0.5), (2.0, 2.0)])
def test_cross_validation_finds_the_calibration_that_a_horizon_needs(squeezed: float, temperature: float) -> None:
    """At the first horizon the member says the truth, at the second its logit is too small or too large."""
    rng = np.random.default_rng(11)
    truth_AH, y_AH = outcomes(rng)
    p_AH = truth_AH.copy()
    p_AH[:, 1] = 1 / (1 + (1 / truth_AH[:, 1] - 1) ** squeezed)
    scored = calibration_losses(uniform, predictions(p_AH[None], y_AH))
    kind_H = chosen_kinds(scored, HORIZONS)
    assert kind_H == ("none", "temperature")
    fitted_H = fit_calibration(p_AH, y_AH, kind_H)
    assert fitted_H[1].temperature == pytest.approx(temperature, rel=0.15)
    assert scored["temperature"][1] < scored["none"][1] - 0.01


def test_a_bent_probability_is_calibrated_by_steps() -> None:
    rng = np.random.default_rng(12)
    truth_AH, y_AH = outcomes(rng)
    p_AH = np.where(truth_AH < 0.5, truth_AH, 0.5 + (truth_AH - 0.5) ** 4)
    scored = calibration_losses(uniform, predictions(p_AH[None], y_AH))
    assert chosen_kinds(scored, HORIZONS) == ("isotonic", "isotonic")
    for h, calibration in enumerate(fit_calibration(p_AH, y_AH, ("isotonic",) * HORIZONS)):
        assert np.abs(calibration.apply(p_AH[:, h]) - truth_AH[:, h]).mean() < 0.05
        assert 0 < calibration.apply(np.zeros(1))[0] < calibration.apply(np.ones(1))[0] < 1


def test_nothing_is_calibrated_where_all_rise() -> None:
    truth_AH, y_AH = outcomes(np.random.default_rng(13))
    y_AH[:, 1] = 1
    fitted_H = fit_calibration(truth_AH, y_AH, ("temperature", "temperature"))
    assert [calibration.kind for calibration in fitted_H] == ["temperature", "none"]
    assert chosen_kinds({}, 3) == ("none", "none", "none")
