"""Tune and its workers, real ones: what is handed out ends once, whenever a worker is killed."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

import hybridtune.search.cluster.local_ray as local_ray_module
from hybridtune.models.training.progress import Progress
from hybridtune.search.cluster.local_ray import local_ray, own_authentication
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.run.keeper import NothingToKeep
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.workers.callback import TrainingCallback
from hybridtune.search.workers.placing import Placing
from hybridtune.search.workers.tasks import Retry, Tasks, run_tasks

pytestmark = pytest.mark.slow

RETRIED_WITH = 7
ANYWHERE = Placing(gpus=0.0, avoided=frozenset)


def by_id(trial: Trial) -> str:
    return str(trial.trial_id)


class Numbers(Tasks[int]):
    """Hands out {number, micro_batch}; what becomes of them is kept in `ended`, `retried` and `failed`."""

    def __init__(self, numbers: int, concurrent: int = 1) -> None:
        super().__init__(lambda: concurrent, list(range(numbers)))
        self.ended: list[int] = []
        self.retried: list[int] = []
        self.failed: list[int] = []

    def _draw(self) -> None:
        return None

    def _undrawn(self) -> int:
        return 0

    def _config(self, task: int, attempt: int) -> dict[str, Any]:  # noqa: ARG002
        return {"number": task}

    def _progress(self, task: int, report: Progressed) -> None:
        """Nothing is kept."""

    def _end(self, task: int, last: TrialReport | None) -> None:
        assert last is not None
        self.ended.append(task)

    def _retry(self, task: int, retry: Retry) -> None:
        assert retry.micro_batch == RETRIED_WITH
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
            self._numbers.again(trial.trial_id, Retry(RETRIED_WITH, "lost"))
        else:
            self._numbers.fail(trial.trial_id, "no retries left")


def test_a_worker_killed_between_two_trials_costs_neither(tmp_path: Path) -> None:
    def report_once(config: dict[str, Any]) -> None:
        """In here, as workers cannot import this file."""
        tune.report(Failed(config["number"], "none", "cpu").to_tune() | {"pid": os.getpid()})

    numbers = Numbers(4)
    with local_ray(1):
        run_tasks(report_once, numbers, KillsWorkers(numbers, after=1), tmp_path / "tune", by_id, ANYWHERE)
    assert not list((tmp_path / "tune").glob("*.json"))
    assert (numbers.ended, numbers.retried, numbers.failed) == ([0, 1, 2, 3], [2], [])


class Smaller(Numbers):
    def _retry(self, task: int, retry: Retry) -> None:
        assert retry.micro_batch == 1
        self.retried.append(task)


def test_a_worker_that_rays_memory_monitor_ends_is_lost_like_another(tmp_path: Path) -> None:
    """Tune ended the whole search with a RuntimeError: on a cluster whose hosts were started without our setting."""
    begun = tmp_path / "begun"

    def killed_once(config: dict[str, Any]) -> None:
        if not begun.exists():
            begun.touch()
            time.sleep(120)
        tune.report(Failed(config["number"], "none", "cpu").to_tune())

    numbers = Smaller(1)
    monitor = {"memory_monitor_refresh_ms": 15000, "memory_usage_threshold": 0.0, "min_memory_free_bytes": -1}
    with own_authentication():
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _system_config=monitor,
            _temp_dir=tempfile.mkdtemp(prefix="ht-", dir="/tmp"),
        )
        try:
            run_tasks(killed_once, numbers, callback_of(numbers, Silent()), tmp_path / "tune", by_id, ANYWHERE)
        finally:
            ray.shutdown()
    assert (numbers.ended, numbers.retried, numbers.failed) == ([0], [0], [])


class NotesWorkers(Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.of: list[int] = []

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        self.of.append(trial.last_result["pid"])


def test_trials_that_are_shorter_than_the_start_of_a_worker_use_all_workers(tmp_path: Path) -> None:
    """Tune gave the worker of a trial that ended to one whose own was starting, and threw that away, each time."""

    def short(config: dict[str, Any]) -> None:
        time.sleep(0.3)
        tune.report(Failed(config["number"], "none", "cpu").to_tune() | {"pid": os.getpid()})

    workers = NotesWorkers()
    with local_ray(3):
        run_tasks(short, Numbers(60, concurrent=3), workers, tmp_path / "tune", by_id, ANYWHERE)
    # The first trials may all be the first worker's; the last are everybody's.
    assert len(set(workers.of)) == 3
    assert len(set(workers.of[-10:])) == 3


class StopsAll(FIFOScheduler):  # type: ignore[misc]
    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        return str(TrialScheduler.STOP)


class Silent:
    """A listener that has nothing to do."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: None


@dataclass(frozen=True)
class NumberTask:
    number: int
    micro_batch: None = None
    alone: bool = False

    @property
    def name(self) -> str:
        return f"number {self.number}"

    @property
    def params(self) -> dict[str, Any]:
        return {}


def callback_of(numbers: Numbers, listener: Any) -> TrainingCallback[Any]:
    return TrainingCallback(
        lambda config: NumberTask(config["number"]),
        numbers,
        listener,
        Settings(dataset=Path(), dimensions={}, reference={}, iterations=1, micro_batch=RETRIED_WITH),
        OwnWorkers(),
        NothingToKeep(),
        print,
    )


@pytest.mark.parametrize("patience", ["600", "1"])
def test_a_worker_that_is_slow_to_end_a_stopped_training_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: str
) -> None:
    """Tune gives it two seconds, then fails the next trial and tells nobody: the search never ended. With a patience
    that is still too short the trial counts as lost and is tried again.
    """
    monkeypatch.setattr(local_ray_module, "UNWINDING_SECONDS", patience)

    def slow_to_end(config: dict[str, Any]) -> None:
        progress = Progress(1, 64, 0.7, 0.7, 0.5, 0.7, seconds=0.1, micro_batch=64)
        try:
            for _ in range(200):
                tune.report(Progressed(progress, False, "cpu").to_tune())
        finally:
            time.sleep(4)

    numbers = Numbers(3)
    with local_ray(1):
        run_tasks(
            slow_to_end,
            numbers,
            callback_of(numbers, Silent()),
            tmp_path / "tune",
            by_id,
            StopsAll(),
        )
    assert (numbers.ended, numbers.failed) == ([0, 1, 2], [])
    assert bool(numbers.retried) == (patience == "1")


def test_the_first_error_is_the_one_that_is_said(tmp_path: Path) -> None:
    """Tune carries on after it, and meets another: KeyError where a file could not be written."""

    class CannotWrite(Silent):
        def progressed(self, task: object, report: object) -> None:  # noqa: ARG002
            raise PermissionError("curves.jsonl")

    def reports(config: dict[str, Any]) -> None:
        for iteration in range(1, 4):
            progress = Progress(iteration, 64, 0.7, 0.7, 0.5, 0.7, seconds=0.1, micro_batch=64)
            tune.report(Progressed(progress, iteration == 3, "cpu").to_tune())

    numbers = Numbers(2)
    with local_ray(1), pytest.raises(PermissionError, match=r"curves\.jsonl"):
        run_tasks(reports, numbers, callback_of(numbers, CannotWrite()), tmp_path / "tune", by_id, ANYWHERE)
