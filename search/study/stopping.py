"""When a search is over before all its trials are run: its time is spent, nothing gets better, or everything fails."""

import re
import time
from datetime import datetime, timedelta

import optuna

from hybridtune.data.schema import InputError
from hybridtune.search.study.standing import Standing

SEARCH_SECONDS = "search_seconds"
"""Attribute of the study: wall time of its search so far, over all its processes."""

SEARCH_BEGAN = "search_began"
"""Attribute of the study: when the process that works on it began, by the clock of the trials' own times."""

SEARCHED_BEFORE = "searched_before"
"""Attribute of the study: wall time of its search in the processes before that one."""

HOPELESS = 5
"""A search of which so many trials failed, and no other got any further, would fail with the rest too."""

ASKED_FOR = "asked_for"
"""Attribute of the study: how many trials, in what time, and how many were over when so many were first asked for."""

SAVE_SECONDS = 5.0
"""At most so much of the time of a process that is killed is forgotten; less with a short budget."""

UNITS = {"h": 3600, "m": 60, "s": 1}


class StoppingRule:
    """Watches a study. The clock goes on from where an earlier process of the run left it."""

    def __init__(self, study: optuna.Study, seconds: float | None, stop_after: int | None, trials: int = 0) -> None:
        """trials: how many are asked for. Those of before an extension are not held against it."""
        self._study = study
        self._seconds = seconds
        self._stop_after = stop_after
        self._began = time.monotonic() - searched_seconds(study)
        self._saved = time.monotonic()
        study.set_user_attr(SEARCH_BEGAN, datetime.now().isoformat())
        study.set_user_attr(SEARCHED_BEFORE, searched_seconds(study))
        # Whoever resumes a search whose trials all failed has mended what made them fail.
        self._standing = Standing(study)
        self._failed_before = self._standing.failed
        self._over_before = self._over_before_asked(trials)

    def reached(self) -> str | None:
        """Why no trial should start any more, for people."""
        standing = self._standing
        standing.look()
        if standing.failed - self._failed_before >= HOPELESS and standing.hopeless():
            return f"all of its {standing.failed} trials failed"
        if self._time_is_up:
            return f"its time budget of {self._seconds:g} seconds is spent"
        if self._stop_after is not None:
            brought_nothing = min(standing.since_best, self._over - self._over_before)
            if brought_nothing >= self._stop_after:
                return f"{brought_nothing} trials brought nothing better"
        return None

    def stops_running(self) -> bool:
        """Whether the trials under way should end too. Until one is complete they are all that the search has."""
        if not self._time_is_up:
            return False
        self._standing.look()
        return self._standing.best is not None

    def tick(self) -> None:
        """Called often: writes the time down now and then, so that a kill does not give it back."""
        between = SAVE_SECONDS if self._seconds is None else min(SAVE_SECONDS, self._seconds / 20)
        if time.monotonic() - self._saved >= between:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        self._study.set_user_attr(SEARCH_SECONDS, self._saved - self._began)

    def _over_before_asked(self, trials: int) -> int:
        asked_for = self._study.user_attrs.get(ASKED_FOR)
        if asked_for is None or (asked_for["trials"], asked_for["seconds"]) != (trials, self._seconds):
            over = 0 if asked_for is None else self._over
            asked_for = {"trials": trials, "seconds": self._seconds, "over": over}
            self._study.set_user_attr(ASKED_FOR, asked_for)
        return int(asked_for["over"])

    @property
    def _over(self) -> int:
        """How many trials are not under way."""
        return self._standing.finished + self._standing.waiting

    @property
    def _time_is_up(self) -> bool:
        if self._seconds is None or time.monotonic() - self._began < self._seconds:
            return False
        # However long the workers took to start, a search tries something.
        return self._standing.begun


def search_began(study: optuna.Study) -> datetime:
    """When the process that worked on it last began; without a time zone, as Optuna's times of trials."""
    return datetime.fromisoformat(study.user_attrs.get(SEARCH_BEGAN, datetime.min.isoformat()))


def search_now(study: optuna.Study) -> datetime:
    """Of the same clock, as far as the process has written it down: SAVE_SECONDS late at most."""
    before = float(study.user_attrs.get(SEARCHED_BEFORE, 0.0))
    return search_began(study) + timedelta(seconds=searched_seconds(study) - before)


def searched_seconds(study: optuna.Study) -> float:
    return float(study.user_attrs.get(SEARCH_SECONDS, 0.0))


def parse_duration(text: str) -> float:
    """Seconds of `2h`, `90m`, `1h30m` or `45s`. Raises InputError for anything else, and for nothing at all."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise InputError(f"time-budget must be a time like 2h, 90m or 1h30m, got {text!r}")
    return seconds
