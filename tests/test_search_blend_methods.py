"""Ensemble weights: they find skill and do not invent it."""

import numpy as np
import pytest

from hybridtune.search.finalists.blend_methods import Floats, Labels, best_single, convex, greedy, methods, mix, uniform

ARCHITECTURES = ["hybrid_lstm", "basic_lstm", "hybrid_lstm", "tcn"]
METHODS = methods(ARCHITECTURES)
ANCHORS, HORIZONS = 1000, 2


def outcomes(rng: np.random.Generator) -> tuple[Floats, Labels]:
    """The true probabilities and what came of them."""
    truth_AH = rng.uniform(0.1, 0.9, size=(ANCHORS, HORIZONS))
    return truth_AH, (rng.uniform(size=truth_AH.shape) < truth_AH).astype(np.int8)


def noise(rng: np.random.Generator, members: int) -> Floats:
    return rng.uniform(0.1, 0.9, size=(members, ANCHORS, HORIZONS))


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


@pytest.mark.parametrize("name", METHODS)
def test_what_members_say_at_masked_labels_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(8)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = np.concatenate([truth_AH[None], noise(rng, 2)])
    masked = rng.uniform(size=y_AH.shape) < 0.3
    y_AH[masked] = -1
    elsewhere = np.where(masked, rng.uniform(0.01, 0.99, size=p_NAH.shape), p_NAH)
    np.testing.assert_allclose(METHODS[name](p_NAH, y_AH), METHODS[name](elsewhere, y_AH), atol=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "fixed"])
@pytest.mark.parametrize("label", [-1, 0, 1])
def test_a_horizon_without_both_a_rise_and_a_fall_is_weighed_without_it(name: str, label: int) -> None:
    rng = np.random.default_rng(9)
    truth_AH, y_AH = outcomes(rng)
    p_NAH = np.concatenate([noise(rng, 1), truth_AH[None]])
    y_AH[:, 1] = label
    weights_NH = METHODS[name](p_NAH, y_AH)
    np.testing.assert_allclose(weights_NH.sum(axis=0), 1)
    if name in ("uniform", "convex"):
        np.testing.assert_allclose(weights_NH[:, 1], 0.5)
    if name != "uniform":
        assert weights_NH[1, 0] > 0.8


def test_the_guides_weights_are_shared_among_basic_and_hybrid_members() -> None:
    _, y_AH = outcomes(np.random.default_rng(11))
    weights_NH = METHODS["fixed"](noise(np.random.default_rng(11), 4), y_AH)
    np.testing.assert_allclose(weights_NH, np.repeat([[0.3], [0.4], [0.3], [0.0]], HORIZONS, axis=1))
    assert "fixed" not in methods(["hybrid_lstm", "tcn"])


def test_greedy_selection_takes_what_helps_the_others_and_leaves_noise() -> None:
    """Two members see one half of the anchors each; a third sees nothing."""
    rng = np.random.default_rng(12)
    truth_AH, y_AH = outcomes(rng)
    halves = np.full((2, *truth_AH.shape), 0.5)
    halves[0, ::2], halves[1, 1::2] = truth_AH[::2], truth_AH[1::2]
    weights_NH = greedy(np.concatenate([halves, noise(rng, 1)]), y_AH)
    np.testing.assert_allclose(weights_NH[:2], 0.5, atol=0.1)
    assert (weights_NH[2] < 0.05).all()
    np.testing.assert_array_equal(weights_NH[:, 0], weights_NH[:, 1])
