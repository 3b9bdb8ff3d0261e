"""What the study says about how long its search will still take."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.models.training.config import higher_is_better
from hybridtune.search.dashboard.promotion_left import Search, promotion_left
from hybridtune.search.dashboard.time_left import CONSIDERED, FEWEST, Halving, Spent, TimeLeft, time_left
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import brackets_of, decided_rungs, rungs_of, waits_at
from hybridtune.search.study.standing import last_iteration
from hybridtune.search.study.stopping import search_began, search_now, searched_seconds
from hybridtune.search.study.study import RUNNING, of_search, state_of

RANDOM = "random"
STARTUP_TRIALS = 10
"""Which Optuna's samplers draw at random before they learn."""
IMPROVING = 0.45
"""Of trials that are all alike, one in `reduction_factor` passes a rung. Those of a sampler that learns are better than
the earlier ones against which they are measured: the share that passes is the root of so much of it (of six searches of
50 trials, 1/3 would have passed and 0.62 did).
"""
UNLIKE = 0.6
"""Of nine searches of 50 trials, after 13 of them: the standard deviation of the logarithm of what was told of the time
left over what was true. It is less the more of the trials that the sampler chose have ended.
"""
REFRESHED, AT_LEAST_SECONDS, WORK_SHARE = 0.02, 5.0, 0.005
"""An estimate stands until so much of it has passed, or so long that making it takes no more than this share of the
time: it costs more than all else that is seen of a run.
"""
MORE = 1.25
"""Where so many times as many trials have begun it is made anew all the same: the first few say little."""


class Estimate:
    """The time left of one run, for who asks again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: TimeLeft | None = None
        self._due = -math.inf
        self._of = 0
        """How many trials it was made of."""

    def __call__(self, study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
        """trials: all of the study."""
        began = self._clock()
        if began >= self._due or len(trials) >= MORE * self._of:
            self._of = len(trials)
            self._found = search_time_left(study, of_search(trials), settings)
            took = self._clock() - began
            left = 0.0 if self._found is None else self._found.seconds
            stands = 0.0 if self._found is None else max(AT_LEAST_SECONDS, REFRESHED * left, took / WORK_SHARE)
            self._due = began + took + stands
        return self._found


def search_time_left(study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
    """trials: of the search, in the order of their numbers. None while too little is known."""
    left = _promotion_left if settings.scheduler == "promotion" else _left
    found = left(study, trials, settings)
    if found is None or settings.time_budget is None:
        return found
    return found.at_most(settings.time_budget - searched_seconds(study))


def _left(study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
    """Where nobody waits at a rung."""
    began, now = search_began(study), search_now(study)
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
    return time_left(
        spent,
        [_so_far(trial, first_end if later else began, now) for trial in running],
        settings.wanted_trials - len(trials),
        len(running),
        settings.iterations,
        _halving(trials, running, settings),
        _unlike(sum(trial.number >= STARTUP_TRIALS for trial, _, _ in ended), settings),
    )


def _promotion_left(study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> TimeLeft | None:
    last = {trial.number: last_iteration(trial) for trial in trials}
    iterations, seconds = sum(last.values()), searched_seconds(study)
    if iterations == 0 or seconds <= 0:
        return None
    sign = -1 if higher_is_better(settings.metric) else 1
    rungs = decided_rungs(trials, rungs_of(settings))
    running = {trial.number: last[trial.number] for trial in trials if state_of(trial) == RUNNING}
    search = Search(
        rungs={rung: {number: sign * value for number, value in values.items()} for rung, values in rungs.items()},
        iterations=settings.iterations,
        reduction_factor=settings.reduction_factor,
        waiting={trial.number: rung for trial in trials if (rung := waits_at(trial)) is not None},
        running=running,
        lived=np.minimum(list(last.values()), settings.iterations),
        over=np.array([trial.state == TrialState.COMPLETE for trial in trials]),
        to_come=settings.wanted_trials - len(trials),
        # Trials have waited while others trained, so their own times say nothing.
        seconds_per_iteration=seconds * max(1, len(running)) / iterations,
    )
    chosen = sum(trial.number >= STARTUP_TRIALS for trial in trials)
    improving = 1.0 if settings.sampler == RANDOM else IMPROVING
    return promotion_left(search, improving, _unlike(chosen, settings))


def _unlike(chosen: int, settings: Settings) -> float:
    """chosen: how many of the trials have ended that the sampler chose by what it had learnt."""
    return 0.0 if settings.sampler == RANDOM else UNLIKE * math.sqrt(STARTUP_TRIALS / (STARTUP_TRIALS + chosen))


def _so_far(trial: FrozenTrial, began: datetime, now: datetime) -> Spent:
    """Its seconds are not known where it began before `began`, or where nothing has been written down since."""
    start = trial.datetime_start
    known = start is not None and began <= start < now
    return Spent(last_iteration(trial), (now - start).total_seconds() if known and start else None)


def _halving(trials: Sequence[FrozenTrial], running: Sequence[FrozenTrial], settings: Settings) -> Halving | None:
    rungs = rungs_of(settings)
    if not rungs:
        return None
    bracket = brackets_of(settings)
    learns = settings.sampler != RANDOM
    # The first ones meet nobody at their rungs and nearly all pass; those to come are drawn otherwise.
    alike = [trial.number for trial in trials if not learns or trial.number >= STARTUP_TRIALS]
    last = {trial.number: last_iteration(trial) for trial in trials}
    arrived = [
        [number for number in alike if number in values and bracket(number) <= place]
        for place, values in enumerate(decided_rungs(trials, rungs).values())
    ]
    passed = [[number for number in those if last[number] > rung] for rung, those in zip(rungs, arrived, strict=True)]
    to_come = range(len(trials), min(settings.wanted_trials, len(trials) + CONSIDERED))
    numbers = [*(trial.number for trial in running), *to_come]
    return Halving(
        rungs,
        np.array([len(those) for those in arrived]),
        np.array([len(those) for those in passed]),
        settings.reduction_factor ** -(IMPROVING if learns else 1.0),
        np.array([bracket(number) for number in numbers], dtype=int),
    )
