"""What has come of a search so far, at a cost that does not grow with its trials."""

from collections.abc import Iterator
from datetime import datetime

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.search.study.rungs import waits_at
from hybridtune.search.study.study import of_search
from hybridtune.search.study.until_ended import UntilEnded


class Standing:
    """Of a study's trials."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        self._until_ended = UntilEnded()
        self._furthest_failed = 0
        self.finished = 0
        self.failed = 0
        self.best: FrozenTrial | None = None
        """Of the complete ones; the earliest of those that are as good."""
        self._ended_since_best = 0
        self.look()

    def look(self) -> None:
        """Catches up with the study."""
        ended, _ = self._until_ended.look(self._study.get_trials(deepcopy=False))
        for trial in sorted(of_search(ended), key=_ended):
            self._add(trial)

    def hopeless(self) -> bool:
        """Whether trials have failed, and no other got any further than they did, or to a rung where it waits."""
        return 0 < self.failed == self.finished and all(
            last_iteration(trial) <= self._furthest_failed and waits_at(trial) is None for trial in self._running()
        )

    @property
    def since_best(self) -> int:
        """How many have ended after the best one did, or have begun after it and wait at a rung."""
        if self.best is None:
            return 0
        return self._ended_since_best + sum(
            waits_at(trial) is not None and _began(trial) > _ended(self.best) for trial in self._running()
        )

    @property
    def begun(self) -> bool:
        """Whether there is any trial."""
        return self.finished > 0 or any(True for _ in self._running())

    @property
    def waiting(self) -> int:
        """How many trials wait at a rung to be continued."""
        return sum(waits_at(trial) is not None for trial in self._running())

    def _running(self) -> Iterator[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return (trials[number] for number in self._until_ended.open if trials[number].state == TrialState.RUNNING)

    def _add(self, trial: FrozenTrial) -> None:
        self.finished += 1
        if trial.state == TrialState.FAIL:
            self.failed += 1
            self._furthest_failed = max(self._furthest_failed, last_iteration(trial))
        if trial.state == TrialState.COMPLETE:
            if self.best is None or self._value(trial) < self._value(self.best):
                self.best, self._ended_since_best = trial, 0
                return
            if self._value(trial) == self._value(self.best) and trial.number < self.best.number:
                self.best = trial
        if self.best is not None:
            self._ended_since_best += 1

    def _value(self, trial: FrozenTrial) -> float:
        assert trial.value is not None
        return self._sign * trial.value


def last_iteration(trial: FrozenTrial) -> int:
    """That it has reported; 0 for none."""
    return max(trial.intermediate_values, default=0)


def _began(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    return trial.datetime_start


def _ended(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete
