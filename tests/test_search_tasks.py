"""Tune and its workers, real ones: what is handed out ends once, whenever a worker is killed."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial

from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.run.trial_report import Failed, TrialReport
from hybridtune.search.workers.tasks import Tasks, run_tasks

pytestmark = pytest.mark.slow

RETRIED_WITH = 7


class Numbers(Tasks[int]):
    """Hands out {number, micro_batch}; what becomes of them is kept in `ended`, `retried` and `failed`."""

    def __init__(self, numbers: int) -> None:
        super().__init__(1, list(range(numbers)))
        self.ended: list[int] = []
        self.retried: list[int] = []
        self.failed: list[int] = []

    def _draw(self) -> None:
        return None

    def _config(self, task: int) -> dict[str, Any]:
        return {"number": task}

    def _end(self, task: int, last: TrialReport | None) -> None:
        assert isinstance(last, Failed)
        assert last.iteration == task
        self.ended.append(task)

    def _retry(self, task: int, micro_batch: int) -> None:
        assert micro_batch == RETRIED_WITH
        self.retried.append(task)

    def _fail(self, task: int, reason: str) -> None:
        assert reason == "no retries left"
        self.failed.append(task)


class KillsWorkers(Callback):  # type: ignore[misc]
    def __init__(self, numbers: Numbers, after: int) -> None:
        self._numbers = numbers
        self._after = after

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        if trial.config["number"] == self._after:
            # Tune keeps the worker for the next and finds it dead when it makes it ready.
            os.kill(trial.last_result["pid"], signal.SIGKILL)

    def on_trial_error(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        if trial.config["number"] == self._after + 1 and not self._numbers.retried:
            self._numbers.again(trial.trial_id, RETRIED_WITH)
        else:
            self._numbers.fail(trial.trial_id, "no retries left")


def test_a_worker_killed_between_two_trials_costs_neither(tmp_path: Path) -> None:
    def report_once(config: dict[str, Any]) -> None:
        """In here, as workers cannot import this file."""
        tune.report(Failed(config["number"], "none", "cpu").to_tune() | {"pid": os.getpid()})

    numbers = Numbers(4)
    with local_ray(1):
        run_tasks(report_once, numbers, KillsWorkers(numbers, after=1), tmp_path / "tune", lambda trial: trial.trial_id)
    assert not list((tmp_path / "tune").glob("*.json"))
    assert (numbers.ended, numbers.retried, numbers.failed) == ([0, 1, 2, 3], [2], [])
