"""ASHA: asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", algorithm 2 in its stopping variant), in one bracket or in those of Hyperband (Li et al. 2018, algorithm 1).
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from math import ceil

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hybridtune.search.run.settings import Settings

Rungs = dict[int, dict[int, float]]
"""Iteration of the rung -> number of the trial -> its objective there."""

WAITS_AT = "waits_at"
"""Attribute of a trial: the rung at which it waits to be continued, which an extension of the search may still do; None
once it has been continued.
"""


def waits_at(trial: FrozenTrial) -> int | None:
    """The rung at which a trial under way waits to be continued; None if it does not."""
    return trial.user_attrs.get(WAITS_AT) if trial.state == TrialState.RUNNING else None


def rung_iterations(grace_period: int, reduction_factor: int, iterations: int) -> tuple[int, ...]:
    """The iterations at which ASHA decides: grace * reduction^k below the full budget."""
    rungs = []
    rung = grace_period
    while rung < iterations:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)


def rungs_of(settings: Settings) -> tuple[int, ...]:
    if settings.scheduler == "none":
        return ()
    return rung_iterations(settings.grace_period, settings.reduction_factor, settings.iterations)


def brackets_of(settings: Settings) -> Callable[[int], int]:
    """Number of a trial -> its bracket."""
    if settings.scheduler != "hyperband":
        return lambda number: 0
    rungs = len(rungs_of(settings))
    return lambda number: bracket_of(number, settings.seed, rungs, settings.reduction_factor)


def survives(value: float, others: Sequence[float], reduction_factor: int, maximize: bool) -> bool:
    """Whether a value is among the best 1/reduction_factor of its rung, itself included. others: ascending.

    At least one survives: the best so far always goes on, and the first to arrive is the best so far.
    """
    kept = max(1, (len(others) + 1) // reduction_factor)
    better = len(others) - bisect_right(others, value) if maximize else bisect_left(others, value)
    return better < kept


@cache
def bracket_of(number: int, seed: int, rungs: int, reduction_factor: int) -> int:
    """How many of the lowest rungs a trial passes by under Hyperband, which does not trust early results for all.

    Drawn by (seed, number) alone, each bracket with the share of trials that Hyperband begins in it.
    """
    left = range(rungs, -1, -1)
    begun = np.array([ceil((rungs + 1) / (halvings + 1) * reduction_factor**halvings) for halvings in left])
    return int(np.random.default_rng([seed, 4, number]).choice(len(begun), p=begun / begun.sum()))


def decided_rungs(trials: Sequence[FrozenTrial], iterations: Sequence[int]) -> Rungs:
    """The rungs of a study, for a resume. A failed trial has no place in them: nobody is to be measured against it.

    A running trial whose last report is at a rung may have died before the decision there was carried out; it
    reports that rung again and is decided again.
    """
    rungs: Rungs = {iteration: {} for iteration in iterations}
    for trial in trials:
        if trial.state == TrialState.FAIL:
            continue
        under_way = trial.state == TrialState.RUNNING
        last = max(trial.intermediate_values, default=0) if under_way else 0
        for iteration in iterations:
            decided = not under_way or iteration < last or waits_at(trial) == iteration
            if iteration in trial.intermediate_values and decided:
                rungs[iteration][trial.number] = trial.intermediate_values[iteration]
    return rungs


class SuccessiveHalving:
    """Who goes on at which rung. A rung keeps the value with which a trial first crossed it."""

    def __init__(
        self,
        rungs: Rungs,
        reduction_factor: int,
        maximize: bool,
        bracket: Callable[[int], int] = lambda number: 0,
    ) -> None:
        """bracket: number of the trial -> how many of the lowest rungs it passes by; it is compared with the trials
        of its own bracket only.
        """
        self._rungs = rungs
        self._reduction_factor = reduction_factor
        self._maximize = maximize
        self._bracket = bracket
        self._stopped: set[int] = set()
        self._sorted: dict[tuple[int, int], list[float]] = {}
        """Of each rung and bracket the values of its trials, ascending."""
        for iteration, rung in rungs.items():
            for number, value in rung.items():
                insort(self._peers(iteration, number), value)

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        return self._rungs

    def passes(self, number: int, iteration: int, value: float) -> bool:
        """Whether the trial goes on after this iteration; at a rung its value is recorded."""
        rung = self._rungs.get(iteration)
        if rung is None or number in rung or iteration in sorted(self._rungs)[: self._bracket(number)]:
            return True
        peers = self._peers(iteration, number)
        goes_on = survives(value, peers, self._reduction_factor, self._maximize)
        rung[number] = value
        insort(peers, value)
        if not goes_on:
            self._stopped.add(number)
        return goes_on

    def stopped(self, number: int) -> bool:
        """Whether the trial did not pass one of its rungs."""
        return number in self._stopped

    def waits_at(self, number: int) -> int | None:  # noqa: ARG002 the one signature
        """Nobody waits."""
        return None

    def next(self) -> int | None:
        """Nobody is continued."""
        return None

    def unlikely(self, likely: int) -> Set[int]:  # noqa: ARG002 the one signature
        return frozenset()

    def leave(self, number: int) -> None:
        """The trial has ended by itself, which changes nothing for the others."""

    def forget(self, number: int) -> None:
        """The trial failed: nobody is to be measured against it."""
        for iteration, rung in self._rungs.items():
            if number in rung:
                self._peers(iteration, number).remove(rung.pop(number))

    def _peers(self, iteration: int, number: int) -> list[float]:
        return self._sorted.setdefault((iteration, self._bracket(number)), [])
