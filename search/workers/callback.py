"""Tune's events as those of our trainings: where one is, how it ended, and whether a lost one is tried again."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from ray.tune import Callback
from ray.tune.experiment import Trial

from hybridtune.search.cluster.workers import Workers
from hybridtune.search.run.keeper import Keeper
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Progressed, TrialReport, report_from_tune
from hybridtune.search.workers.progress import HardwareLines, Heartbeat
from hybridtune.search.workers.retries import Retries, last_failure, raised
from hybridtune.search.workers.tasks import Tasks, TrainingTask

TICK_SECONDS = 1.0

Task = TypeVar("Task", bound=TrainingTask)
Heard = TypeVar("Heard", bound=TrainingTask, contravariant=True)


class Listener(Protocol[Heard]):
    """What a stage does with the events of its trainings."""

    def started(self, task: Heard) -> None: ...

    def progressed(self, task: Heard, report: Progressed) -> None: ...

    def retried(self, task: Heard) -> None:
        """The worker was lost, and the training will be started again."""

    def ended(self, task: Heard, last: TrialReport | None) -> None:
        """By itself or by the scheduler. last: None where it never reported."""

    def lost(self, task: Heard, reason: str) -> None:
        """The worker was lost, and the training is not tried again."""

    def tick(self) -> None:
        """Called about once a second, whatever happens."""


class TrainingCallback(Callback, Generic[Task]):  # type: ignore[misc]
    """Hears of every report, a training's last included, and answers for lost workers."""

    def __init__(
        self,
        task_from_tune: Callable[[Mapping[str, Any]], Task],
        tasks: Tasks[Any],
        listener: Listener[Task],
        settings: Settings,
        workers: Workers,
        keeper: Keeper,
        say: Say,
    ) -> None:
        """task_from_tune: from the config of Tune's trial."""
        self._task_from_tune = task_from_tune
        self._tasks = tasks
        self._listener = listener
        self._micro_batch = settings.micro_batch
        self._say = say
        self._workers = workers
        self._keeper = keeper
        self._retries = Retries(workers.memory_ran_out, settings.shares_gpus)
        self._heartbeat = Heartbeat(say, settings.iterations)
        self._hardware = HardwareLines(say, settings.micro_batch)
        self._traceback_shown = False
        self._ticked = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:  # noqa: ARG002
        self._tasks.first_error.raise_if_any()
        with self._tasks.first_error.remember():
            # At once: Tune's next step waits for ten minutes where nothing runs and no trial is handed out.
            for trial in self._tasks.unreported_losses(trials):
                self._lost(trial)
            if time.monotonic() - self._ticked >= TICK_SECONDS:
                self._ticked = time.monotonic()
                self._listener.tick()
                self._workers.look_around(self._tasks.left())
                self._keeper.check()

    def on_trial_start(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        with self._tasks.first_error.remember():
            self._listener.started(self._task_from_tune(trial.config))

    def on_trial_result(self, trial: Trial, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        with self._tasks.first_error.remember():
            report = report_from_tune(result)
            if isinstance(report, Progressed):
                self._progressed(self._task_from_tune(trial.config), report)

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        with self._tasks.first_error.remember():
            task = self._task_from_tune(trial.config)
            self._heartbeat.forget(task.name)
            self._listener.ended(task, report_from_tune(trial.last_result))
            forget_statistics(trial)

    def on_trial_error(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        with self._tasks.first_error.remember():
            self._lost(trial)

    def _progressed(self, task: Task, report: Progressed) -> None:
        self._retries.inspect(task.name, report.progress.iteration)
        self._listener.progressed(task, report)
        self._hardware.inspect(task.name, task.params, report)
        self._heartbeat.beat(task.name, report.progress.iteration, report.progress.decisive)

    def _lost(self, trial: Trial) -> None:
        task, failure = self._task_from_tune(trial.config), last_failure(trial)
        self._heartbeat.forget(task.name)
        retry = self._retries.after(task, report_from_tune(trial.last_result), failure, self._micro_batch)
        if retry is not None:
            self._tasks.again(trial.trial_id, retry)
            self._listener.retried(task)
            self._say(f"{task.name} {retry.words}")
            return
        if raised(failure) and not self._traceback_shown:
            # The others are most often the same.
            self._say(f"the first traceback: {failure}")
            self._traceback_shown = True
        reason = raised(failure) or "its worker was lost"
        self._tasks.fail(trial.trial_id, reason)
        self._listener.lost(task, reason)


def forget_statistics(trial: Trial) -> None:
    """Those that Tune keeps of every number that an ended trial reported. Nobody asks for them, and they are most of
    what the driver's memory grows by.
    """
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
    # They are in its text too, which Tune keeps for its snapshots.
    trial.run_metadata.invalidate_cache()
