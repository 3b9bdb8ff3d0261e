"""A claim of skill needs enough series and an interval that holds over all horizons together."""

import numpy as np
import pandas as pd
import pytest

from hybridtune.search.finalists.blend import distinct_configurations
from hybridtune.search.report.comparison import Comparison, describe_gain
from hybridtune.search.report.scores import FEWEST_HOURS, Gain, auc_gain, base_rate_scores, log_loss_gain
from hybridtune.search.report.scores import test_scores as scores_of

HORIZONS = (15, 30, 60)
ANCHORS = 13


def predictions(series: int, skill: float, seed: int, gap: str = "1h") -> pd.DataFrame:
    """Outcomes that a series shares, and a forecast that knows `skill` of them; they launch one after another."""
    rng = np.random.default_rng(seed)
    launches = pd.date_range("2025-01-01", periods=series, freq=gap)
    columns: dict[str, object] = {
        "slice": "test",
        "series": np.repeat([f"s{i}" for i in range(series)], ANCHORS),
        "launch": np.repeat(launches, ANCHORS),
    }
    for horizon in HORIZONS:
        drift = np.repeat(rng.normal(size=series), ANCHORS)
        outcome = drift + rng.normal(size=series * ANCHORS)
        known = skill * drift + np.repeat(rng.normal(size=series), ANCHORS)
        columns[f"label/{horizon}"] = (outcome > 0).astype(np.int8)
        columns[f"ensemble/{horizon}"] = 1 / (1 + np.exp(-known))
        columns[f"base_rate/{horizon}"] = 0.4
    return pd.DataFrame(columns)


def compared(frame: pd.DataFrame) -> Comparison:
    rows = {"ensemble": scores_of(frame, "ensemble", HORIZONS, seed=0)}
    hours = frame["launch"].dt.floor("h").nunique()
    return Comparison(HORIZONS, rows, base_rate_scores(frame, HORIZONS), frame["series"].nunique(), hours, {}, ())


@pytest.mark.parametrize(("series", "gap"), [(FEWEST_HOURS - 1, "1h"), (45, "12min")])
def test_too_few_launch_hours_give_no_interval_and_no_claim(series: int, gap: str) -> None:
    comparison = compared(predictions(series, skill=9.0, seed=0, gap=gap))
    assert all(np.isnan(score.auc_low) and not score.skill for score in comparison.rows["ensemble"].values())
    assert comparison.verdict == "No claim of skill: test series of 9 launch hours are too few for an interval."


def test_launches_of_one_hour_count_as_one() -> None:
    """Copies of a series in its hour add nothing that the interval could narrow for."""
    frame = predictions(30, skill=1.0, seed=4)
    copies = [
        frame.assign(series=frame["series"] + f"-{n}", launch=frame["launch"] + pd.Timedelta(minutes=n))
        for n in range(9)
    ]
    once, often = (scores_of(each, "ensemble", HORIZONS, seed=0) for each in (frame, pd.concat(copies)))
    for horizon in HORIZONS:
        one, nine = ((scores[horizon].auc_low, scores[horizon].auc_high) for scores in (once, often))
        np.testing.assert_allclose(one, nine, atol=1e-12)


def mean(frame: pd.DataFrame, who: str, metric: str) -> float:
    scores = scores_of(frame, who, HORIZONS, seed=0).values()
    return float(np.mean([getattr(score.metrics, metric) for score in scores]))


def test_a_gain_is_shown_where_there_is_one_and_not_where_there_is_none() -> None:
    frame = predictions(80, skill=1.0, seed=5)
    for horizon in HORIZONS:
        frame[f"coin/{horizon}"] = np.random.default_rng(horizon).uniform(0.4, 0.6, len(frame))
        frame[f"same/{horizon}"] = frame[f"ensemble/{horizon}"]
    gain = auc_gain(frame, "ensemble", "coin", HORIZONS, seed=0)
    assert gain.value == pytest.approx(mean(frame, "ensemble", "auc") - mean(frame, "coin", "auc"))
    assert gain.shown
    assert gain.low < gain.value < gain.high
    assert auc_gain(frame, "ensemble", "same", HORIZONS, seed=0) == Gain(0.0, 0.0, 0.0)
    assert not auc_gain(frame, "coin", "ensemble", HORIZONS, seed=0).shown
    saved = log_loss_gain(frame, "coin", "base_rate", HORIZONS, seed=0)
    assert saved.value == pytest.approx(mean(frame, "base_rate", "log_loss") - mean(frame, "coin", "log_loss"))


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Gain(0.01, 0.002, 0.02), "+0.0100 [+0.0020, +0.0200], a gain"),
        (Gain(0.01, -0.002, 0.02), "+0.0100 [-0.0020, +0.0200], no gain shown"),
        (Gain(0.01, float("nan"), float("nan")), "+0.0100, too few launch hours for an interval"),
        (Gain(*[float("nan")] * 3), "not known, as no horizon has both classes"),
    ],
)
def test_a_gain_is_told_with_its_interval_and_in_words(gain: Gain, words: str) -> None:
    assert describe_gain(gain) == words


def test_skill_that_is_there_is_claimed() -> None:
    comparison = compared(predictions(80, skill=2.0, seed=1))
    assert all(score.skill for score in comparison.rows["ensemble"].values())
    assert comparison.verdict.startswith("Skill shown: at every horizon")


@pytest.mark.parametrize("series", [10, 45])
def test_without_skill_a_claim_is_rare(series: int) -> None:
    claims = sum(
        any(score.skill for score in compared(predictions(series, 0.0, seed)).rows["ensemble"].values())
        for seed in range(60)
    )
    # 5% of 60 is 3; with ten series a percentile interval is somewhat too narrow.
    assert claims <= (10 if series == 10 else 7)


def test_the_constant_beside_has_no_skill_and_the_loss_of_its_rate() -> None:
    frame = predictions(20, skill=0.0, seed=3)
    for horizon, metrics in zip(HORIZONS, compared(frame).base_rate, strict=True):
        up_share = frame[f"label/{horizon}"].mean()
        assert metrics.auc == 0.5
        assert metrics.log_loss == pytest.approx(-(up_share * np.log(0.4) + (1 - up_share) * np.log(0.6)))


def test_configurations_tried_are_counted_once() -> None:
    trials = pd.DataFrame({"trial": [0, 1, 2], "config.a": [1, 1, 2], "config.b": ["x", "x", "x"]})
    assert distinct_configurations(trials) == 2
