"""What predictions.parquet says of every contender, with its uncertainty. Pure: a frame in, scores out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.schema import InputError
from models.metrics import HorizonMetrics, bootstrap_auc, horizon_metrics, interval
from search.blend import CONSTANT, ENSEMBLE, EnsembleDocument

RESAMPLES = 1000
FEWEST_SERIES = 10
"""Below so many test series a bootstrap over them says too little: it would claim skill where there is none."""
ORACLE = "oracle"


@dataclass(frozen=True)
class Score:
    """One contender at one horizon on the test slice. The interval covers 95%, by bootstrap over series; it is NaN
    where there are too few of them.
    """

    metrics: HorizonMetrics
    auc_low: float
    auc_high: float
    skill: bool
    """Whether a coin's AUC of 0.5 lies below the interval, widened so that a claim at any of the horizons is wrong in
    at most 5% of runs (Bonferroni)."""


def contenders(ensemble: EnsembleDocument) -> dict[str, str]:
    """Title -> whose predictions: the rows of the comparison."""
    by_origin = {origin: member for member, origin in reversed(ensemble.members.items())}
    named = {"ensemble": ENSEMBLE, "best single": ensemble.best_single}
    for title, origin in (("default configuration", "guide default"), ("basic LSTM", "basic LSTM")):
        # The default is trial 0: where that is among the finalists it stands under its number.
        member = by_origin.get(origin) or by_origin.get("trial 0" if origin == "guide default" else "")
        if member is not None:
            named[title] = member
    return named


def test_scores(predictions: pd.DataFrame, who: str, horizons: tuple[int, ...], seed: int) -> dict[int, Score]:
    """Scores of one contender for each horizon. Every contender meets the same bootstrap resamples."""
    test = predictions[predictions["slice"] == "test"]
    series_A = pd.factorize(test["series"])[0].astype(np.int64)
    enough = len(np.unique(series_A)) >= FEWEST_SERIES
    scores = {}
    for horizon in horizons:
        p_A, y_A = test[f"{who}/{horizon}"].to_numpy(), test[f"label/{horizon}"].to_numpy()
        values = bootstrap_auc(p_A, y_A, series_A, RESAMPLES, seed)
        usable = enough and bool(np.isfinite(values).any())
        low, high = interval(values) if usable else (float("nan"), float("nan"))
        skill = usable and interval(values, 1 - 0.05 / len(horizons))[0] > 0.5
        scores[horizon] = Score(horizon_metrics(p_A, y_A), low, high, skill)
    return scores


def constant_scores(predictions: pd.DataFrame, horizons: tuple[int, ...]) -> tuple[HorizonMetrics, ...]:
    """On the test slice, of always saying the share of rises in train."""
    test = predictions[predictions["slice"] == "test"]
    columns = [(test[f"{CONSTANT}/{h}"].to_numpy(), test[f"label/{h}"].to_numpy()) for h in horizons]
    return tuple(horizon_metrics(p_A, y_A) for p_A, y_A in columns)


def with_oracle(predictions: pd.DataFrame, oracle: Path, horizons: tuple[int, ...]) -> pd.DataFrame:
    """The predictions beside those of the generator's oracle at the same anchors."""
    columns = {f"p_{horizon}": f"{ORACLE}/{horizon}" for horizon in horizons}
    try:
        known = pd.read_parquet(oracle, columns=["series", "minute", *columns]).rename(columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{oracle} is not the oracle of a generated dataset ({error})") from None
    joined = predictions.merge(known, on=["series", "minute"], how="left", validate="one_to_one")
    if joined[f"{ORACLE}/{horizons[0]}"].isna().any():
        raise InputError(f"{oracle} lacks anchors of this run: it belongs to other launches")
    return joined
