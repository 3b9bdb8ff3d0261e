"""When a search is over before all its trials are run: its time is spent, nothing gets better, or everything fails."""

import math
import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.data.schema import InputError
from hybridtune.search.study.study import best_first, started

SEARCH_SECONDS = "search_seconds"
"""Attribute of the study: wall time of its search so far, over all its processes."""

SEARCH_BEGAN = "search_began"
"""Attribute of the study: when the process that works on it began, by the clock of the trials' own times."""

SEARCHED_BEFORE = "searched_before"
"""Attribute of the study: wall time of its search in the processes before that one."""

HOPELESS = 5
"""A search of which so many trials failed, and no other got any further, would fail with the rest too."""

SAVE_SECONDS = 5.0
"""At most so much of the time of a process that is killed is forgotten; less with a short budget."""

UNITS = {"h": 3600, "m": 60, "s": 1}


class StoppingRule:
    """Watches a study. The clock goes on from where an earlier process of the run left it."""

    def __init__(self, study: optuna.Study, seconds: float | None, stop_after: int | None) -> None:
        self._study = study
        self._seconds = seconds
        self._stop_after = stop_after
        self._began = time.monotonic() - searched_seconds(study)
        self._saved = time.monotonic()
        study.set_user_attr(SEARCH_BEGAN, datetime.now().isoformat())
        study.set_user_attr(SEARCHED_BEFORE, searched_seconds(study))
        # Whoever resumes a search whose trials all failed has mended what made them fail.
        self._failed_before = sum(trial.state == TrialState.FAIL for trial in started(study))

    def reached(self) -> str | None:
        """Why no trial should start any more, for people."""
        trials = started(self._study)
        failed = sum(trial.state == TrialState.FAIL for trial in trials)
        if failed - self._failed_before >= HOPELESS and not _any_is_better_off(trials):
            return f"all of its {failed} trials failed"
        if self._time_is_up:
            return f"its time budget of {self._seconds:g} seconds is spent"
        if self._stop_after is not None:
            waited = trials_since_best(trials, self._maximize)
            if waited >= self._stop_after:
                return f"{waited} trials brought nothing better"
        return None

    def stops_running(self) -> bool:
        """Whether the trials under way should end too. Until one is complete they are all that the search has."""
        return self._time_is_up and bool(best_first(self._study))

    def tick(self) -> None:
        """Called often: writes the time down now and then, so that a kill does not give it back."""
        between = SAVE_SECONDS if self._seconds is None else min(SAVE_SECONDS, self._seconds / 20)
        if time.monotonic() - self._saved >= between:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        self._study.set_user_attr(SEARCH_SECONDS, self._saved - self._began)

    @property
    def _time_is_up(self) -> bool:
        if self._seconds is None or time.monotonic() - self._began < self._seconds:
            return False
        # However long the workers took to start, a search tries something.
        return bool(started(self._study))

    @property
    def _maximize(self) -> bool:
        return self._study.direction == optuna.study.StudyDirection.MAXIMIZE


def _any_is_better_off(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial was complete or stopped, or one under way is further than every failed one came."""
    furthest = max((_iterations(trial) for trial in trials if trial.state == TrialState.FAIL), default=0)
    return any(
        _iterations(trial) > furthest if trial.state == TrialState.RUNNING else trial.state != TrialState.FAIL
        for trial in trials
    )


def _iterations(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=0)


def search_began(study: optuna.Study) -> datetime:
    """When the process that worked on it last began; without a time zone, as Optuna's times of trials."""
    return datetime.fromisoformat(study.user_attrs.get(SEARCH_BEGAN, datetime.min.isoformat()))


def search_now(study: optuna.Study) -> datetime:
    """Of the same clock, as far as the process has written it down: SAVE_SECONDS late at most."""
    before = float(study.user_attrs.get(SEARCHED_BEFORE, 0.0))
    return search_began(study) + timedelta(seconds=searched_seconds(study) - before)


def searched_seconds(study: optuna.Study) -> float:
    return float(study.user_attrs.get(SEARCH_SECONDS, 0.0))


def trials_since_best(trials: Sequence[FrozenTrial], maximize: bool) -> int:
    """How many trials ended after the complete one that is the best; 0 as long as none is complete."""
    best, waited = math.inf, 0
    for trial in sorted((t for t in trials if t.state.is_finished()), key=_ended):
        loss = math.inf
        if trial.state == TrialState.COMPLETE:
            assert trial.value is not None
            loss = -trial.value if maximize else trial.value
        if loss < best:
            best, waited = loss, 0
        elif best < math.inf:
            waited += 1
    return waited


def _ended(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete


def parse_duration(text: str) -> float:
    """Seconds of `2h`, `90m`, `1h30m` or `45s`. Raises InputError for anything else, and for nothing at all."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise InputError(f"time-budget must be a time like 2h, 90m or 1h30m, got {text!r}")
    return seconds
