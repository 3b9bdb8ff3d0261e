"""A claim of skill needs enough blocks of time and a saving that holds over all horizons together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE, StoredPredictions
from hybridtune.search.report.blocks import FEWEST_BLOCKS, Estimate
from hybridtune.search.report.comparison import Comparison, Row, describe_gain
from hybridtune.search.report.scores import (
    Gain,
    MeanGain,
    auc_gain,
    blocks_at,
    gains_shown,
    log_loss_gain,
    score,
)

HORIZONS = (15, 30, 60)
ANCHORS = 13


def predictions(series: int, skill: float, seed: int, gap: str = "2h") -> StoredPredictions:
    """Outcomes that a series shares, and a forecast that knows `skill` of them; they launch one after another."""
    rng = np.random.default_rng(seed)
    launches = pd.date_range("2025-01-01", periods=series, freq=gap)
    columns: dict[str, object] = {
        "slice": "test",
        "series": np.repeat([f"s{i}" for i in range(series)], ANCHORS),
        "launch": np.repeat(launches, ANCHORS),
        "minute": np.tile(60 + np.arange(ANCHORS), series),
    }
    for horizon in HORIZONS:
        drift = np.repeat(rng.normal(size=series), ANCHORS)
        outcome = drift + rng.normal(size=series * ANCHORS)
        known = skill * drift + 0.3 * np.repeat(rng.normal(size=series), ANCHORS)
        columns[f"label/{horizon}"] = (outcome > 0).astype(np.int8)
        columns[f"{ENSEMBLE}/{horizon}"] = 1 / (1 + np.exp(-known))
        columns[f"{BASE_RATE}/{horizon}"] = 0.45
    return StoredPredictions(pd.DataFrame(columns), HORIZONS)


def with_columns(stored: StoredPredictions, **columns: object) -> StoredPredictions:
    """Each for all horizons."""
    frame = stored.frame.assign(**{f"{who}/{h}": value for who, value in columns.items() for h in HORIZONS})
    return replace(stored, frame=frame)


def compared(stored: StoredPredictions, readings: int = 1) -> Comparison:
    rows = {who: Row(who, score(stored, who)) for who in (ENSEMBLE, BASE_RATE)}
    return Comparison(HORIZONS, rows, stored.frame["series"].nunique(), readings, {}, ())


def test_too_few_blocks_give_no_interval_and_no_claim() -> None:
    """Many launches, but of fewer than ten blocks of two hours."""
    comparison = compared(predictions(8 * 40, skill=1.0, seed=0, gap="3min"))
    scores = comparison.ensemble.scores
    assert scores[60].blocks < FEWEST_BLOCKS <= scores[15].blocks
    assert np.isnan(scores[60].auc_low)
    assert not scores[60].skill
    assert comparison.verdict.startswith("Skill shown at 15/30 minutes: there the ensemble saves log loss over")
    assert comparison.verdict.endswith("No claim at 60 minutes: fewer than 10 blocks of two horizons.")

    comparison = compared(predictions(40, skill=1.0, seed=0, gap="3min"))
    assert not any(score.skill for score in comparison.ensemble.scores.values())
    assert comparison.verdict == ("No claim of skill: at no horizon do the test labels span 10 blocks of two horizons.")


def test_blocks_are_counted_over_known_labels() -> None:
    """A horizon that is labelled in the first hours alone makes no claim, however long the slice is."""
    stored = predictions(80, skill=2.0, seed=1)
    early = stored.frame["launch"] < stored.frame["launch"].min() + pd.Timedelta("10h")
    stored.frame["label/60"] = stored.frame["label/60"].where(early, -1)
    scores = compared(stored).ensemble.scores
    assert (scores[60].blocks, scores[60].skill) == (blocks_at(stored, 60), False)
    assert blocks_at(stored, 60) < FEWEST_BLOCKS
    assert scores[15].skill


def test_launches_of_one_block_count_as_one() -> None:
    """Copies of a series beside it add nothing that the interval could narrow for."""
    stored = predictions(30, skill=1.0, seed=4)
    copies = [stored.frame.assign(series=stored.frame["series"] + f"-{n}") for n in range(9)]
    once, often = (score(each, ENSEMBLE) for each in (stored, replace(stored, frame=pd.concat(copies))))
    for horizon in HORIZONS:
        one, nine = ((scores[horizon].auc_low, scores[horizon].auc_high) for scores in (once, often))
        np.testing.assert_allclose(one, nine, atol=1e-12)
        assert once[horizon].skill == often[horizon].skill


def mean(stored: StoredPredictions, who: str, metric: str) -> float:
    return float(np.mean([getattr(each.metrics, metric) for each in score(stored, who).values()]))


def test_a_gain_is_shown_where_there_is_one_and_not_where_there_is_none() -> None:
    stored = predictions(80, skill=1.0, seed=5)
    coin = np.random.default_rng(1).uniform(0.4, 0.6, len(stored.frame))
    stored = with_columns(stored, coin=coin)
    stored = replace(stored, frame=stored.frame.assign(**{f"same/{h}": stored.p_A(ENSEMBLE, h) for h in HORIZONS}))
    measured = {
        "coin": auc_gain(stored, ENSEMBLE, "coin"),
        "same": auc_gain(stored, ENSEMBLE, "same"),
        "itself less": auc_gain(stored, "coin", ENSEMBLE),
    }
    gains = gains_shown(measured)
    coins = gains["coin"]
    assert coins.value == pytest.approx(mean(stored, ENSEMBLE, "auc") - mean(stored, "coin", "auc"))
    assert coins.low < coins.value < coins.high
    assert [gain.shown for gain in gains.values()] == [True, False, False]
    assert gains["same"] == Gain(HORIZONS, 0.0, 0.0, 0.0, shown=False)
    saved = log_loss_gain(stored, "coin", BASE_RATE).estimate
    assert saved.value == pytest.approx(mean(stored, BASE_RATE, "log_loss") - mean(stored, "coin", "log_loss"))


def test_a_gain_has_to_hold_beside_all_that_are_shown_with_it() -> None:
    alone = MeanGain(HORIZONS, Estimate(0.01, 0.001, 0.02, p_value=0.02))
    assert gains_shown({"a": alone})["a"].shown
    assert not any(gain.shown for gain in gains_shown({"a": alone, "b": alone, "c": alone}).values())


def test_a_gain_leaves_out_horizons_with_too_few_blocks() -> None:
    stored = with_columns(predictions(8 * 40, skill=1.0, seed=0, gap="3min"), coin=0.5)
    gain = auc_gain(stored, ENSEMBLE, "coin")
    assert gain.horizons == (15, 30)
    assert np.isfinite(gain.estimate.low)
    short = with_columns(predictions(40, skill=1.0, seed=0, gap="3min"), coin=0.5)
    assert auc_gain(short, ENSEMBLE, "coin").horizons == HORIZONS
    assert np.isnan(auc_gain(short, ENSEMBLE, "coin").estimate.low)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Gain(HORIZONS, 0.01, 0.002, 0.02, True), "+0.0100 [+0.0020, +0.0200], a gain"),
        (Gain(HORIZONS, 0.01, 0.002, 0.02, False), "+0.0100 [+0.0020, +0.0200], no gain shown"),
        (Gain((15, 30), 0.01, -0.002, 0.02, False), "+0.0100 [-0.0020, +0.0200] at 15/30 minutes, no gain shown"),
        (
            Gain(HORIZONS, 0.01, float("nan"), float("nan"), False),
            "+0.0100, too few blocks of time for an interval",
        ),
        (Gain((), *[float("nan")] * 3, False), "not known, as no horizon has both classes"),  # type: ignore[misc]
    ],
)
def test_a_gain_is_reported_with_its_interval_and_in_words(gain: Gain, words: str) -> None:
    assert describe_gain(gain, HORIZONS) == words


def test_skill_that_is_there_is_claimed() -> None:
    comparison = compared(predictions(80, skill=1.0, seed=1))
    assert all(each.skill and each.saved > 0 for each in comparison.ensemble.scores.values())
    assert comparison.verdict == (
        "Skill shown: at every horizon the ensemble saves log loss over the base rate "
        "(5% over all horizons together, 80 test series)."
    )


def test_a_test_slice_that_was_read_again_is_said() -> None:
    stored = predictions(80, skill=1.0, seed=1)
    assert "was read" not in compared(stored, readings=1).verdict
    assert compared(stored, readings=3).verdict.endswith(
        "The test slice was read 3 times: what was changed in between may have fitted it."
    )


@pytest.mark.parametrize("series", [10, 45])
def test_without_skill_a_claim_is_rare(series: int) -> None:
    claims = sum(
        any(each.skill for each in compared(predictions(series, 0.0, seed)).ensemble.scores.values())
        for seed in range(60)
    )
    assert claims <= 7  # 5% of 60 is 3; more than 7 in 1.4% of samples


def test_the_base_rate_has_no_skill_and_the_loss_of_its_rate() -> None:
    stored = predictions(20, skill=0.0, seed=3)
    for horizon, each in compared(stored).rows[BASE_RATE].scores.items():
        up_share = stored.label_A(horizon).mean()
        assert (each.metrics.auc, each.saved, each.skill) == (0.5, 0.0, False)
        expected = -(up_share * np.log(0.45) + (1 - up_share) * np.log(0.55))
        assert each.metrics.log_loss == pytest.approx(expected)
