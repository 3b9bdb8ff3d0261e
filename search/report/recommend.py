"""What to do next, read off the numbers of a run. Pure; each rule gives one sentence or none."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.search.finalists.blend_methods import Floats
from hybridtune.search.finalists.members import MemberDocument
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE, StoredPredictions
from hybridtune.search.report.blocks import calendar_blocks, count_blocks, jackknife, mean_without
from hybridtune.search.report.comparison import Comparison, Finalist

EVEN = (0.4, 0.6)
"""Shares of up labels that need no weights."""
NOTICEABLE = 0.002
"""Nats of log loss; less is within what another seed changes."""
FEWEST_TRIALS = 3
"""Of a choice, before its mean says anything."""
SURE = 0.1
"""Share of anchors that a careful user might act on."""
OVERFIT = 0.03
"""Nats by which the loss on tune may lie above that on train, dropout included."""


def recommendations(
    comparison: Comparison,
    trained: Sequence[MemberDocument],
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    stored: StoredPredictions,
) -> list[str]:
    """trials: with `rank`, 0 for the best of the complete ones."""
    sentences = [
        _architecture(comparison.finalists),
        _scales(trials, curves),
        _trials(trials),
        _data(trained),
        _imbalance(stored.slice("blend")),
        _surest(stored.slice("blend"), stored.slice("test")),
    ]
    return [sentence for sentence in sentences if sentence is not None]


def _architecture(finalists: Sequence[Finalist]) -> str | None:
    """By the blend slice, which chose neither configuration nor weights of a single member."""
    losses = {
        name: float(np.mean([f.log_losses[1] for f in finalists if f.architecture == name]))
        for name in dict.fromkeys(f.architecture for f in finalists)
    }
    if len(losses) < 2:
        return None
    best, second = sorted(losses, key=lambda name: losses[name])[:2]
    gap = losses[second] - losses[best]
    if gap < NOTICEABLE:
        return (
            f"Architecture: {best} and {second} are alike on the blend slice ({gap:.4f} nats apart): take the cheaper."
        )
    return f"Architecture: keep {best}; on the blend slice it loses {gap:.4f} nats less than {second}."


def _scales(trials: pd.DataFrame, curves: pd.DataFrame) -> str | None:
    """By the loss at the last iteration that every trial has: further ones know the better trials only."""
    if "config.windows" not in trials or curves.empty:
        return None
    first = int(curves.groupby("trial")["iteration"].max().min())
    early = curves[curves["iteration"] == first].set_index("trial")["tune_loss"]
    by_choice = (
        trials.assign(early=trials["trial"].map(early)).dropna(subset=["early"]).groupby("config.windows")["early"]
    )
    means = by_choice.mean()[by_choice.count() >= FEWEST_TRIALS].sort_values()
    if len(means) < 2:
        return None
    gap = means.iloc[1] - means.iloc[0]
    best, second = means.index[:2]
    if gap < NOTICEABLE:
        return f"Windows: {best} and {second} are alike after {first} iterations: the choice hardly pays."
    return f"Windows: {best} pay; after {first} iterations they lose {gap:.4f} nats less than {second}."


def _trials(trials: pd.DataFrame) -> str | None:
    complete = trials[trials["state"] == "complete"]
    if len(complete) < FEWEST_TRIALS:
        return f"Trials: only {len(complete)} of {len(trials)} were trained to their end: more would tell more."
    # By its place among this search's trials: the numbers of a warm start count the earlier run's trials too.
    best = int(np.flatnonzero(trials["rank"] == 0)[0]) + 1
    if best > 2 * len(trials) / 3:
        return f"Trials: the best was number {best} of {len(trials)}, late: more trials may find a better one."
    return f"Trials: the best was number {best} of {len(trials)}, and no later one beat it: more trials promise little."


def _data(trained: Sequence[MemberDocument]) -> str | None:
    if not trained:
        return None
    ends = [min(member.curve, key=lambda point: point.tune_loss) for member in trained]
    gap = float(np.mean([point.tune_loss - point.train_loss for point in ends]))
    still_falling = sum(end == member.curve[-1] for end, member in zip(ends, trained, strict=True))
    if gap > OVERFIT:
        return (
            f"Data: at their best the members lose {gap:.3f} nats more on tune than on train: "
            "more series, or more dropout, would help more than more trials."
        )
    if still_falling > len(trained) / 2:
        return (
            f"Training: {still_falling} of {len(trained)} members were best at their last iteration: train for longer."
        )
    return f"Data: the members lose {gap:+.3f} nats on tune beside train: they have data enough for their size."


def _imbalance(blend: StoredPredictions) -> str | None:
    """By the labels of blend: the next search would be led by those of test."""
    known = {horizon: blend.known(horizon).label_A(horizon) for horizon in blend.horizons}
    shares = {horizon: float(label_A.mean()) for horizon, label_A in known.items() if len(label_A)}
    uneven = [f"{horizon} min ({share:.0%} up)" for horizon, share in shares.items() if not EVEN[0] <= share <= EVEN[1]]
    if not uneven:
        return None
    return (
        f"Class imbalance: {', '.join(uneven)}. A probability above one half is no good threshold there: "
        "compare with the base rate, or search class_weights."
    )


def _surest(blend: StoredPredictions, test: StoredPredictions) -> str | None:
    """The horizon is chosen on blend, the difference measured on test. Right calls alone say nothing where most prices
    fall: what counts is the excess over calls that follow the base rate at the same anchors.
    """
    found_on_blend = {horizon: _excess_A(blend.known(horizon), horizon) for horizon in blend.horizons}
    excess = {horizon: float(values_A.mean()) for horizon, values_A in found_on_blend.items() if len(values_A)}
    if not excess:
        return None
    best = max(excess, key=lambda horizon: excess[horizon])
    known = test.known(best)
    sure_A = _surest_A(known, best)
    if not len(sure_A):
        return None
    block_A = calendar_blocks(known.time_A, best)
    values_A = _excess_A(known, best)
    found = jackknife(float(values_A.mean()), mean_without(values_A, block_A[sure_A], count_blocks(block_A)))
    interval = "too few blocks of time for an interval"
    if np.isfinite(found.low):
        interval = f"95% interval {found.low:+.1%} to {found.high:+.1%}"
    return (
        f"Real-time use: on blend the surest {SURE:.0%} of calls beat calls by the base rate most at {best} minutes. "
        f"On test the difference in right calls is {found.value:+.1%} ({interval}). hybridtune predict --last gives "
        "the latest minute alone, and how far the members differ."
    )


def _surest_A(known: StoredPredictions, horizon: int) -> NDArray[np.int64]:
    """The anchors with the surest calls."""
    p_A = known.p_A(ENSEMBLE, horizon)
    return np.argsort(-np.abs(p_A - 0.5), kind="stable")[: int(len(p_A) * SURE)]


def _excess_A(known: StoredPredictions, horizon: int) -> Floats:
    """At each of the surest anchors 1 where the ensemble's call is right and the base rate's wrong, -1 the other way
    round, else 0.
    """
    sure_A = _surest_A(known, horizon)
    up_A = known.label_A(horizon)[sure_A] == 1
    ours_A, rate_A = ((known.p_A(who, horizon)[sure_A] > 0.5) == up_A for who in (ENSEMBLE, BASE_RATE))
    excess_A: Floats = ours_A.astype(np.float64) - rate_A
    return excess_A
