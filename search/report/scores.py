"""What predictions.parquet says of every prediction, with its uncertainty. Pure: a frame in, scores out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.schema import InputError
from hybridtune.models.metrics import Values, auc, bootstrap_auc, bootstrap_log_loss, horizon_metrics, interval
from hybridtune.models.score import HorizonMetrics, Score
from hybridtune.search.finalists.ensemble import EnsembleDocument
from hybridtune.search.finalists.members import Role
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE

RESAMPLES = 1000
FEWEST_HOURS = 10
"""With launches in fewer hours a bootstrap over them says too little: it would claim skill where there is none."""
ORACLE = "oracle"


@dataclass(frozen=True)
class Gain:
    """How much better one prediction is than another on the test slice: the mean over the horizons, and the interval
    that covers 95% of it; NaN where there are too few launch hours.
    """

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        return self.low > 0


def compared(ensemble: EnsembleDocument) -> dict[str, str]:
    """Title -> whose predictions: the rows of the comparison."""
    titles: dict[Role, str] = {"reference": "reference", "basic": "basic LSTM"}
    named = {
        title: next((member for member, roles in ensemble.roles.items() if role in roles), None)
        for role, title in titles.items()
    }
    return {"ensemble": ENSEMBLE, "best single": ensemble.best_single} | {
        title: member for title, member in named.items() if member is not None
    }


def launch_hours(test: pd.DataFrame) -> NDArray[np.int64]:
    """hour_A: which rows are drawn together. Launches of one hour meet the same market, so they move together."""
    hour_A: NDArray[np.int64] = pd.factorize(test["launch"].dt.floor("h"))[0].astype(np.int64)
    return hour_A


def test_slice(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["slice"] == "test"]


def test_scores(predictions: pd.DataFrame, who: str, horizons: tuple[int, ...], seed: int) -> dict[int, Score]:
    """Scores of one prediction for each horizon. Every prediction meets the same bootstrap resamples."""
    test = test_slice(predictions)
    hour_A = launch_hours(test)
    scores = {}
    for horizon in horizons:
        p_A, y_A = test[f"{who}/{horizon}"].to_numpy(), test[f"label/{horizon}"].to_numpy()
        values_B = bootstrap_auc(p_A, y_A, hour_A, RESAMPLES, seed)
        low, high = _interval(values_B, hour_A)
        skill = _interval(values_B, hour_A, 1 - 0.05 / len(horizons))[0] > 0.5
        scores[horizon] = Score(horizon_metrics(p_A, y_A), low, high, skill)
    return scores


def auc_gain(predictions: pd.DataFrame, who: str, over: str, horizons: tuple[int, ...], seed: int) -> Gain:
    """Of AUC, over the horizons that have both classes."""
    test = test_slice(predictions)
    two_class = [h for h in horizons if {0, 1} <= set(test[f"label/{h}"])]
    return _gain(test, two_class, seed, who, over, lambda p, y: auc(p[y >= 0], y[y >= 0]) or 0.0, bootstrap_auc)


def log_loss_gain(predictions: pd.DataFrame, who: str, over: str, horizons: tuple[int, ...], seed: int) -> Gain:
    """Of log loss, in nats; positive where `who` loses less."""
    test = test_slice(predictions)
    two_class = [h for h in horizons if (test[f"label/{h}"] >= 0).any()]

    def loss(p_A: Values, y_A: NDArray[np.int8]) -> float:
        return horizon_metrics(p_A, y_A).log_loss

    return _gain(test, two_class, seed, over, who, loss, bootstrap_log_loss)


def _gain(
    test: pd.DataFrame,
    horizons: list[int],
    seed: int,
    high: str,
    low: str,
    measure: Callable[[Values, NDArray[np.int8]], float],
    bootstrap: Callable[[Values, NDArray[np.int8], NDArray[np.int64], int, int], Values],
) -> Gain:
    """The measure of `high` less that of `low`."""
    hour_A = launch_hours(test)
    values, values_HB = [], []
    for horizon in horizons:
        y_A = test[f"label/{horizon}"].to_numpy()
        pair = [test[f"{who}/{horizon}"].to_numpy() for who in (high, low)]
        values.append(measure(pair[0], y_A) - measure(pair[1], y_A))
        more_B, less_B = (bootstrap(p_A, y_A, hour_A, RESAMPLES, seed) for p_A in pair)
        values_HB.append(more_B - less_B)
    if not horizons:
        return Gain(float("nan"), float("nan"), float("nan"))
    return Gain(float(np.mean(values)), *_interval(np.mean(values_HB, axis=0), hour_A))


def _interval(values_B: Values, hour_A: NDArray[np.int64], level: float = 0.95) -> tuple[float, float]:
    usable = len(np.unique(hour_A)) >= FEWEST_HOURS and bool(np.isfinite(values_B).any())
    return interval(values_B, level) if usable else (float("nan"), float("nan"))


def base_rate_scores(predictions: pd.DataFrame, horizons: tuple[int, ...]) -> tuple[HorizonMetrics, ...]:
    """On the test slice, of the base rate."""
    test = test_slice(predictions)
    columns = [(test[f"{BASE_RATE}/{h}"].to_numpy(), test[f"label/{h}"].to_numpy()) for h in horizons]
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
