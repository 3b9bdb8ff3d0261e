"""A claim of skill needs enough series and an interval that holds over all horizons together."""

import numpy as np
import pandas as pd
import pytest

from search.blend import distinct_configurations
from search.report import Comparison
from search.scores import FEWEST_SERIES, constant_scores
from search.scores import test_scores as scores_of

HORIZONS = (15, 30, 60)
ANCHORS = 13


def predictions(series: int, skill: float, seed: int) -> pd.DataFrame:
    """Outcomes that a series shares, and a forecast that knows `skill` of them."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {"slice": "test", "series": np.repeat([f"s{i}" for i in range(series)], ANCHORS)}
    for horizon in HORIZONS:
        drift = np.repeat(rng.normal(size=series), ANCHORS)
        outcome = drift + rng.normal(size=series * ANCHORS)
        known = skill * drift + np.repeat(rng.normal(size=series), ANCHORS)
        columns[f"label/{horizon}"] = (outcome > 0).astype(np.int8)
        columns[f"ensemble/{horizon}"] = 1 / (1 + np.exp(-known))
        columns[f"constant/{horizon}"] = 0.4
    return pd.DataFrame(columns)


def compared(frame: pd.DataFrame) -> Comparison:
    rows = {"ensemble": scores_of(frame, "ensemble", HORIZONS, seed=0)}
    return Comparison(HORIZONS, rows, constant_scores(frame, HORIZONS), frame["series"].nunique())


def test_too_few_series_give_no_interval_and_no_claim() -> None:
    comparison = compared(predictions(FEWEST_SERIES - 1, skill=9.0, seed=0))
    assert all(np.isnan(score.auc_low) and not score.skill for score in comparison.rows["ensemble"].values())
    assert comparison.verdict == "No claim of skill: 9 test series are too few for an interval."


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
    for horizon, metrics in zip(HORIZONS, compared(frame).constant, strict=True):
        rises = frame[f"label/{horizon}"].mean()
        assert metrics.auc == 0.5
        assert metrics.log_loss == pytest.approx(-(rises * np.log(0.4) + (1 - rises) * np.log(0.6)))


def test_configurations_tried_are_counted_once() -> None:
    trials = pd.DataFrame({"trial": [0, 1, 2], "config.a": [1, 1, 2], "config.b": ["x", "x", "x"]})
    assert distinct_configurations(trials) == 2
