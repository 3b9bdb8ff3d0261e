"""Ensemble weights: they find skill, do not invent it, and are judged on series that they never saw."""

import numpy as np
import pytest

from search.blend import (
    FOLDS,
    METHODS,
    Floats,
    Labels,
    Predictions,
    best_single,
    convex,
    cross_validated_log_loss,
    method_losses,
    mix,
    uniform,
)

SERIES, ANCHORS_PER_SERIES, HORIZONS = 40, 25, 2
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
    return Predictions(p_NAH, y_AH, series_A, np.arange(count))


def losses(p_AH: Floats, y_AH: Labels) -> Floats:
    said = np.where(y_AH == 1, p_AH, 1 - p_AH)
    mean: Floats = -np.log(said).mean(axis=0)
    return mean


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_shares_of_each_horizon(name: str) -> None:
    rng = np.random.default_rng(0)
    _, y_AH = outcomes(rng)
    weights_NH = METHODS[name](noise(rng, 4), y_AH)
    assert weights_NH.shape == (4, HORIZONS)
    assert (weights_NH >= 0).all()
    np.testing.assert_allclose(weights_NH.sum(axis=0), 1, atol=1e-12)


def test_convex_finds_the_member_with_skill_among_noise() -> None:
    rng = np.random.default_rng(1)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = np.concatenate([noise(rng, 2), truth_AH[None], noise(rng, 2)])
    weights_NH = convex(p_NAH, y_AH)
    assert (weights_NH[2] > 0.8).all()
    assert (best_single(p_NAH, y_AH)[2] == 1).all()


def test_convex_weighs_each_horizon_by_itself() -> None:
    rng = np.random.default_rng(2)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = noise(rng, 2)
    p_NAH[0, :, 0], p_NAH[1, :, 1] = truth_AH[:, 0], truth_AH[:, 1]
    weights_NH = convex(p_NAH, y_AH)
    assert weights_NH[0, 0] > 0.8
    assert weights_NH[1, 1] > 0.8


def test_convex_is_uniform_among_members_that_say_the_same() -> None:
    rng = np.random.default_rng(3)
    truth_AH, y_AH = outcomes(rng)
    np.testing.assert_allclose(convex(np.stack([truth_AH] * 5), y_AH), 0.2, atol=1e-6)


def test_convex_stays_near_uniform_among_equally_good_members() -> None:
    """Members that differ by noise of the same size: their mean is better than any, and no weights beat it by much."""
    rng = np.random.default_rng(4)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = (truth_AH + rng.normal(0, 0.15, size=(4, *truth_AH.shape))).clip(0.02, 0.98)
    weights_NH = convex(p_NAH, y_AH)
    assert (weights_NH > 0.1).all()
    assert (losses(mix(p_NAH, weights_NH), y_AH) <= losses(mix(p_NAH, uniform(p_NAH, y_AH)), y_AH) + 1e-6).all()


def test_best_single_puts_all_on_the_member_with_the_lowest_mean_loss() -> None:
    y_AH = np.ones((10, 2), dtype=np.int8)
    y_AH[0] = 0
    p_NAH = np.stack([np.full((10, 2), 0.5), np.full((10, 2), 0.8), np.full((10, 2), 0.999999)])
    np.testing.assert_array_equal(best_single(p_NAH, y_AH), [[0, 0], [1, 1], [0, 0]])


def test_mix_is_the_weighted_mean_of_the_members() -> None:
    p_NAH = np.array([[[0.2, 0.4]], [[0.6, 0.8]]])
    np.testing.assert_allclose(mix(p_NAH, np.array([[0.25, 1.0], [0.75, 0.0]])), [[0.5, 0.4]])


def test_cross_validation_never_fits_on_the_series_that_it_judges() -> None:
    """Each member says the number of the series, so a method sees what it is fitted on."""
    blend = predictions(noise(np.random.default_rng(5), 2), outcomes(np.random.default_rng(5))[1])
    told = Predictions(
        np.broadcast_to(blend.series_A[None, :, None] / 1000, blend.p_NAH.shape), *(
            blend.y_AH, blend.series_A, blend.minute_A)
    )  # fmt: skip
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


def test_the_judged_loss_is_that_of_the_held_out_predictions() -> None:
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
    judged = method_losses(predictions(noise(rng, 3), y_AH, series=1))
    assert list(judged) == ["uniform"]
    assert set(method_losses(predictions(noise(rng, 3), y_AH, series=2))) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_what_members_say_at_masked_labels_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(8)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = np.concatenate([truth_AH[None], noise(rng, 2)])
    masked = rng.uniform(size=y_AH.shape) < 0.3
    y_AH[masked] = -1
    elsewhere = np.where(masked, rng.uniform(0.01, 0.99, size=p_NAH.shape), p_NAH)
    np.testing.assert_allclose(METHODS[name](p_NAH, y_AH), METHODS[name](elsewhere, y_AH), atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_a_horizon_without_a_known_label_is_weighed_without_one(name: str) -> None:
    rng = np.random.default_rng(9)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = np.concatenate([noise(rng, 1), truth_AH[None]])
    y_AH[:, 1] = -1
    weights_NH = METHODS[name](p_NAH, y_AH)
    np.testing.assert_allclose(weights_NH.sum(axis=0), 1)
    if name != "uniform":
        assert weights_NH[1, 0] > 0.8


def test_a_horizon_that_only_the_last_series_know_can_be_cross_validated() -> None:
    """Short launches have labels at the short horizons only."""
    rng = np.random.default_rng(10)
    truth_AH, y_AH = outcomes(rng)
    y_AH[: -2 * ANCHORS_PER_SERIES, 1] = -1
    judged = method_losses(predictions(np.concatenate([noise(rng, 2), truth_AH[None]]), y_AH))
    assert set(judged) == set(METHODS)
    assert np.isfinite(list(judged.values())).all()
