"""Statistics over blocks of calendar time: right by an independent way, and no false claims on related launches."""

import numpy as np
import pytest
from scipy.stats import t as student_t
from sklearn.metrics import roc_auc_score

from benchmarks.null_markets import FORECASTS, Forecast, NullMarket
from hybridtune.search.report.blocks import (
    FEWEST_BLOCKS,
    auc_without,
    calendar_blocks,
    count_blocks,
    jackknife,
    mean_without,
    p_value_of_sum,
)
from hybridtune.search.report.scores import score


def test_a_block_is_two_horizons_of_calendar_time() -> None:
    minutes = np.array([0, 29, 30, 59, 60, 600])
    time_A = np.datetime64("1970-01-01T00:00", "m") + minutes
    assert calendar_blocks(time_A, 15).tolist() == [0, 0, 1, 1, 2, 3]  # empty blocks do not count
    assert calendar_blocks(time_A.astype("datetime64[us]"), 60).tolist() == [0, 0, 0, 0, 0, 1]
    assert count_blocks(calendar_blocks(time_A[:0], 15)) == 0


def test_the_auc_without_a_block_is_that_of_the_other_anchors() -> None:
    rng = np.random.default_rng(0)
    p_A = rng.integers(0, 12, 400) / 12  # with ties
    y_A = (rng.random(400) < p_A).astype(np.int8)
    block_A = rng.integers(0, 15, 400)
    expected = [roc_auc_score(y_A[block_A != g], p_A[block_A != g]) for g in range(15)]
    np.testing.assert_allclose(auc_without(p_A, y_A, block_A, 15), expected, atol=1e-12)
    np.testing.assert_allclose(
        mean_without(p_A, block_A, 15), [p_A[block_A != g].mean() for g in range(15)], atol=1e-12
    )


def test_what_one_block_alone_holds_cannot_be_known_without_it() -> None:
    y_A, block_A = np.array([1, 0, 0, 0], dtype=np.int8), np.array([0, 1, 2, 2])
    without_G = auc_without(np.array([0.9, 0.1, 0.2, 0.3]), y_A, block_A, 3)
    assert np.isnan(without_G[0])
    assert without_G[1:].tolist() == [1.0, 1.0]
    assert np.isnan(mean_without(np.ones(2), np.zeros(2, dtype=np.int64), 1)).all()


def test_the_jackknife_of_a_mean_is_the_t_interval() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 25)
    found = jackknife(float(values.mean()), mean_without(values, np.arange(25), 25))
    error = values.std(ddof=1) / 5
    assert (found.low, found.high) == pytest.approx(student_t.interval(0.95, 24, values.mean(), error))
    assert found.p_value == pytest.approx(student_t.sf(values.mean() / error, 24))
    assert found.p_value == pytest.approx(p_value_of_sum(values, np.arange(25)))


def test_too_few_blocks_give_no_interval_and_no_claim() -> None:
    for blocks, known in ((FEWEST_BLOCKS - 1, False), (FEWEST_BLOCKS, True)):
        values, block_A = np.linspace(0.9, 1.1, blocks), np.arange(blocks)
        found = jackknife(float(values.mean()), mean_without(values, block_A, blocks))
        assert np.isfinite([found.low, found.high]).all() == known
        assert (found.p_value < 0.01) == known
        assert (p_value_of_sum(values, block_A) < 0.01) == known


def test_nothing_saved_anywhere_is_no_claim() -> None:
    assert p_value_of_sum(np.zeros(40), np.arange(40)) == 1.0
    assert jackknife(0.0, np.zeros(40)).p_value == 1.0
    assert jackknife(0.1, np.array([0.1] * 39 + [np.nan])).p_value == 1.0


@pytest.mark.parametrize("forecast", FORECASTS)
@pytest.mark.parametrize("days", [10 / 24, 2])
def test_forecasts_of_one_market_without_signal_are_rarely_called_skill(forecast: Forecast, days: float) -> None:
    """Half of the variance is the market's. A bootstrap over launch hours called reversal skill in 15% to 42%."""
    market = NullMarket(market_share=0.5, days=days, forecast=forecast)
    claims = sum(any(s.skill for s in score(market.predictions(seed), "ensemble").values()) for seed in range(40))
    assert claims <= 5  # of 40 at 5%: more than 5 in 1.4% of samples


def test_an_interval_contains_the_truth_about_as_often_as_it_says() -> None:
    """Twenty blocks whose anchors share a shift."""
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        block_A = np.repeat(np.arange(20), 30)
        y_A = rng.integers(0, 2, 600).astype(np.int8)
        p_A = y_A * 0.8 + rng.standard_normal(600) + 0.5 * rng.standard_normal(20)[block_A] * (2 * y_A - 1)
        found = jackknife(roc_auc_score(y_A, p_A), auc_without(p_A, y_A, block_A, 20))
        # Of the difference of an up and a down anchor of different blocks, N(0.8, 2 + 0.5).
        inside += found.low < 0.6936 < found.high
    assert 180 <= inside <= 199
