"""What the stored predictions score on the test slice, with their uncertainty. Pure.

Shapes: A anchors, H horizons, G blocks of calendar time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.schema import InputError
from hybridtune.models.loss_and_auc import EPSILON, Values, auc
from hybridtune.models.metrics import horizon_metrics
from hybridtune.models.score import Score
from hybridtune.search.finalists.predictions import BASE_RATE, StoredPredictions
from hybridtune.search.report.blocks import (
    FEWEST_BLOCKS,
    LEVEL,
    NAN,
    Estimate,
    auc_without,
    calendar_blocks,
    count_blocks,
    jackknife,
    mean_without,
    p_value_of_sum,
)

ORACLE: Final = "oracle"


@dataclass(frozen=True)
class Gain:
    """How much better one prediction is than another on the test slice: mean over some horizons, with the interval that
    covers 95%; NaN with too few blocks.
    """

    horizons: tuple[int, ...]
    """Those with enough blocks, if there are any."""
    value: float
    low: float
    high: float
    shown: bool
    """Whether it is above 0, by a test that is wrong in at most 5% of runs, all gains that are shown together."""


class MeanGain(NamedTuple):
    """A gain before it is known how many are shown beside it."""

    horizons: tuple[int, ...]
    estimate: Estimate


Measure = Callable[[Values, NDArray[np.int8]], float]
Without = Callable[[Values, NDArray[np.int8], NDArray[np.int64], int], Values]


def score(predictions: StoredPredictions, who: str) -> dict[int, Score]:
    """Scores of one prediction for each horizon."""
    return {horizon: _score(predictions.known(horizon), who, horizon) for horizon in predictions.horizons}


def _score(known: StoredPredictions, who: str, horizon: int) -> Score:
    p_A, y_A = known.p_A(who, horizon), known.label_A(horizon)
    block_A = calendar_blocks(known.time_A, horizon)
    blocks = count_blocks(block_A)
    saved_A = losses(known.p_A(BASE_RATE, horizon), y_A) - losses(p_A, y_A)
    metrics = horizon_metrics(p_A, y_A)
    interval = Estimate(0.5) if metrics.auc is None else jackknife(metrics.auc, auc_without(p_A, y_A, block_A, blocks))
    return Score(
        metrics=metrics,
        blocks=blocks,
        # An AUC cannot leave 0 to 1, Student's t can; NaN stays NaN.
        auc_low=float(np.clip(interval.low, 0, 1)),
        auc_high=float(np.clip(interval.high, 0, 1)),
        saved=float(saved_A.mean()),
        skill=p_value_of_sum(saved_A, block_A) < LEVEL / len(known.horizons),
    )


def losses(p_A: Values, y_A: NDArray[np.int8]) -> Values:
    """Log loss of each anchor, in nats."""
    likelihood_A = np.where(y_A == 1, p_A, 1 - p_A).astype(np.float64).clip(EPSILON, 1 - EPSILON)
    loss_A: Values = -np.log(likelihood_A)
    return loss_A


def auc_gain(predictions: StoredPredictions, who: str, over: str) -> MeanGain:
    """Of AUC; positive where that of `who` is higher. Horizons with one class only are left out."""
    two_class = [h for h in predictions.horizons if {0, 1} <= set(predictions.label_A(h).tolist())]
    return _mean_gain(predictions, two_class, lambda p, y: auc(p, y) or 0.0, auc_without, who, over)


def log_loss_gain(predictions: StoredPredictions, who: str, over: str) -> MeanGain:
    """Of log loss, in nats; positive where `who` loses less."""
    known = [h for h in predictions.horizons if (predictions.label_A(h) >= 0).any()]

    def without(p_A: Values, y_A: NDArray[np.int8], block_A: NDArray[np.int64], blocks: int) -> Values:
        return mean_without(losses(p_A, y_A), block_A, blocks)

    return _mean_gain(predictions, known, lambda p, y: float(losses(p, y).mean()), without, over, who)


def _mean_gain(
    predictions: StoredPredictions, usable: Sequence[int], measure: Measure, without: Without, more: str, less: str
) -> MeanGain:
    """The measure of `more` less that of `less`, mean over the usable horizons that have enough blocks, or over all."""
    horizons = tuple(h for h in usable if blocks_at(predictions, h) >= FEWEST_BLOCKS) or tuple(usable)
    if not horizons:
        return MeanGain(horizons, Estimate(NAN))
    # One length of block for all horizons, as their outcomes overlap: that of the longest.
    block_A = calendar_blocks(predictions.time_A, max(horizons))
    blocks = count_blocks(block_A)
    values_H, without_HG = [], []
    for horizon in horizons:
        y_A = predictions.label_A(horizon)
        known_A = y_A >= 0
        pair = [predictions.p_A(who, horizon)[known_A] for who in (more, less)]
        values_H.append(measure(pair[0], y_A[known_A]) - measure(pair[1], y_A[known_A]))
        more_G, less_G = (without(p_A, y_A[known_A], block_A[known_A], blocks) for p_A in pair)
        without_HG.append(more_G - less_G)
    return MeanGain(horizons, jackknife(float(np.mean(values_H)), np.mean(without_HG, axis=0)))


def gains_shown(gains: dict[str, MeanGain]) -> dict[str, Gain]:
    """Each is shown where it holds at 5% over all of them together (Bonferroni)."""
    return {
        name: Gain(
            gain.horizons,
            gain.estimate.value,
            gain.estimate.low,
            gain.estimate.high,
            shown=gain.estimate.p_value < LEVEL / len(gains),
        )
        for name, gain in gains.items()
    }


def blocks_at(predictions: StoredPredictions, horizon: int) -> int:
    """Blocks of calendar time in which labels are known at a horizon."""
    return count_blocks(calendar_blocks(predictions.known(horizon).time_A, horizon))


def with_oracle(predictions: StoredPredictions, oracle: Path) -> StoredPredictions:
    """The predictions beside those of the generator's oracle at the same anchors."""
    columns = {f"p_{horizon}": f"{ORACLE}/{horizon}" for horizon in predictions.horizons}
    try:
        known = pd.read_parquet(oracle, columns=["series", "minute", *columns]).rename(columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{oracle} is not the oracle of a generated dataset ({error})") from None
    joined = predictions.frame.merge(known, on=["series", "minute"], how="left", validate="one_to_one")
    if joined[f"{ORACLE}/{predictions.horizons[0]}"].isna().any():
        raise InputError(f"{oracle} lacks anchors of this run: it belongs to other launches")
    return replace(predictions, frame=joined)
