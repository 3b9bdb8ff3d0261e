"""What the study says about how long its search will still take."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.search.dashboard.time_left import CONSIDERED, FEWEST, Halving, Spent, TimeLeft, time_left
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import brackets_of, decided_rungs, rungs_of
from hybridtune.search.study.stopping import search_began, searched_seconds

REFRESHED = 0.02
"""An estimate stands until so much of it has passed: it costs more than all else that is seen of a run."""


class Estimate:
    """The time left of one run, for who asks again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: TimeLeft | None = None
        self._due = -math.inf

    def __call__(self, study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
        if self._clock() >= self._due:
            self._found = search_time_left(study, trials, settings)
            self._due = self._clock() + (REFRESHED * self._found.seconds if self._found else 0.0)
        return self._found


def search_time_left(study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
    """trials: of the search, in the order of their numbers. None while too little is known."""
    began = search_began(study)
    # A trial that was begun by an earlier process has waited for this one.
    ended = [
        (trial, trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_complete is not None and trial.datetime_start is not None and trial.datetime_start >= began
    ]
    # One that began before any had ended has waited for its worker to start.
    first_end = min((end for _, _, end in ended), default=began)
    later = sum(start >= first_end for _, start, _ in ended) >= FEWEST
    spent = [
        Spent(
            last_iteration(trial),
            (end - start).total_seconds() if start >= first_end or not later else None,
            trial.state == TrialState.PRUNED,
        )
        for trial, start, end in ended
    ]
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    found = time_left(
        spent,
        [last_iteration(trial) for trial in running],
        settings.wanted_trials - len(trials),
        len(running),
        settings.iterations,
        _halving(trials, running, settings),
    )
    if found is None or settings.time_budget is None:
        return found
    return found.at_most(settings.time_budget - searched_seconds(study))


def _halving(trials: Sequence[FrozenTrial], running: Sequence[FrozenTrial], settings: Settings) -> Halving | None:
    rungs = rungs_of(settings)
    if not rungs:
        return None
    bracket = brackets_of(settings)
    arrived = np.zeros((len(rungs) + 1, len(rungs)), dtype=int)
    for place, values in enumerate(decided_rungs(trials, rungs).values()):
        for number in values:
            arrived[bracket(number), place] += 1
    to_come = range(len(trials), min(settings.wanted_trials, len(trials) + CONSIDERED))
    numbers = [*(trial.number for trial in running), *to_come]
    return Halving(rungs, settings.reduction_factor, arrived, np.array([bracket(number) for number in numbers], int))


def last_iteration(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=0)
