"""What to do next, read off the numbers of a run. Pure; each rule gives one sentence or none."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hybridtune.search.finalists.members import MemberDocument
from hybridtune.search.finalists.predictions import ENSEMBLE
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
    test: pd.DataFrame,
) -> list[str]:
    """trials: with `rank`, 0 for the best of the complete ones."""
    sentences = [
        _architecture(comparison.finalists),
        _scales(trials, curves),
        _trials(trials),
        _data(trained),
        _imbalance(comparison),
        _use(test, comparison.horizons),
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
    best = int(complete.sort_values("rank").iloc[0]["trial"])
    if best >= 2 * len(trials) / 3:
        return f"Trials: the best was number {best} of {len(trials)}, late: more trials may find a better one."
    return (
        f"Trials: the best was number {best} of {len(trials)}, and nothing later beat it: more trials promise little."
    )


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


def _imbalance(comparison: Comparison) -> str | None:
    uneven = [
        f"{horizon} min ({m.up_share:.0%} up)"
        for horizon, m in zip(comparison.horizons, comparison.metrics(ENSEMBLE), strict=True)
        if not EVEN[0] <= m.up_share <= EVEN[1]
    ]
    if not uneven:
        return None
    return (
        f"Class imbalance: {', '.join(uneven)}. A probability above one half is no good threshold there: "
        "compare with the base rate, or search class_weights."
    )


def _use(test: pd.DataFrame, horizons: tuple[int, ...]) -> str | None:
    surest = {}
    for horizon in horizons:
        known = test[test[f"label/{horizon}"] >= 0]
        if len(known) * SURE < 1:
            continue
        p, up = known[f"{ENSEMBLE}/{horizon}"].to_numpy(), known[f"label/{horizon}"].to_numpy() == 1
        sure = np.argsort(-np.abs(p - 0.5), kind="stable")[: int(len(p) * SURE)]
        surest[horizon] = float(((p[sure] > 0.5) == up[sure]).mean())
    if not surest:
        return None
    best = max(surest, key=lambda horizon: surest[horizon])
    return (
        f"Real-time use: of the surest {SURE:.0%} of calls {surest[best]:.0%} were right at {best} minutes, the best "
        "horizon for that; hybridtune predict --last gives the latest minute alone, and says where members differ."
    )
