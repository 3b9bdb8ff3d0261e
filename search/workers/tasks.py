"""Trainings that Tune is handed one by one, and again where a worker was lost.

Tune's own retries are not used. If a reused worker dies between two trials, Ray 2.60 reports it twice: Tune queues the
retry, then fails the trial for good because it is not running.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ray import tune
from ray.tune import Callback, ProgressReporter
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hybridtune.search.run.trial_report import Progressed, TrialReport, report_from_tune
from hybridtune.search.workers.memory_monitor import ended_workers_are_lost
from hybridtune.spaces.parameters import Config

SNAPSHOTS = ("experiment_state-*.json", "search_gen_state-*.json")


class TrainingTask(Protocol):
    """A training that a worker is handed."""

    @property
    def name(self) -> str:
        """Unique among the trainings of a stage, for people."""

    @property
    def params(self) -> Config: ...

    @property
    def micro_batch(self) -> int | None:
        """How many anchors fitted into memory in an earlier attempt."""

    @property
    def alone(self) -> bool:
        """Whether it has a whole GPU, where others share theirs."""


Task = TypeVar("Task")


class Retry(NamedTuple):
    """How a lost training is tried again."""

    micro_batch: int
    words: str
    """What happened, for people."""
    host_lost: bool = False
    """Whether its host was, which costs no retry."""
    alone: bool = False
    """Whether it gets a whole GPU, where others share theirs."""


class Silent(ProgressReporter):  # type: ignore[misc]
    """Tune's own would put tables into a notebook, whatever it is told."""

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:  # noqa: ARG002 Tune's interface
        return False

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: object) -> None:
        """Never called."""


class FirstError:
    """Tune carries on after an exception of ours, or meets another one because of it: the first is the cause."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    @contextmanager
    def remember(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = self._error or error
            raise

    def raise_if_any(self) -> None:
        if self._error is not None:
            raise self._error


class Tasks(Searcher, Generic[Task]):  # type: ignore[misc]
    """A searcher of Tune's. Each attempt of a task is one trial of Tune's.

    When a worker is lost, Tune calls `on_trial_complete` of this searcher first and `on_trial_error` of its callbacks
    next. One of the callbacks has to answer with `again` or `fail`.
    """

    def __init__(self, concurrent: Callable[[], int], waiting: list[Task]) -> None:
        """concurrent: how many may run at a time, which may change. waiting: to be handed out before any that `_draw`
        gives.
        """
        super().__init__()
        self._concurrent = concurrent
        self._waiting = waiting
        self._live: dict[str, Task] = {}
        self._lost: dict[str, Task] = {}
        self._trial_of: dict[str, Trial] = {}
        """Tune's trial of each live task."""
        self._seen = 0
        self._attempts = 0
        self.first_error = FirstError()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self.first_error.remember():
            return self._suggest(trial_id)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if len(self._live) >= self._concurrent():
            return None
        task = self._waiting.pop(0) if self._waiting else self._draw()
        if task is None:
            # Tune would not ask again, and one of the live ones may have to be tried again.
            return None if self._live else str(Searcher.FINISHED)
        self._live[trial_id] = task
        self._attempts += 1
        return self._config(task, self._attempts)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune calls this for a trial's end of any kind, with the report that the scheduler stopped it at."""
        with self.first_error.remember():
            task = self._live.pop(trial_id)
            if error:
                self._lost[trial_id] = task
            else:
                self._end(task, report_from_tune(result))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        with self.first_error.remember():
            report = report_from_tune(result)
            if isinstance(report, Progressed):
                self._progress(self._live[trial_id], report)

    def unreported_losses(self, trials: Sequence[Trial]) -> list[Trial]:
        """Trials of Tune's that ended in an error of which Tune told nobody: their worker could not be made ready for
        them. From now on they count as lost. Otherwise they would keep their slot, and the search would never end.
        trials: all of them so far, in order of their creation.
        """
        # Called at every step, so its cost must not grow with the trials that have ended.
        self._trial_of |= {trial.trial_id: trial for trial in trials[self._seen :]}
        self._seen = len(trials)
        self._trial_of = {trial_id: self._trial_of[trial_id] for trial_id in self._live if trial_id in self._trial_of}
        found = [trial for trial in self._trial_of.values() if trial.status == Trial.ERROR]
        for trial in found:
            self._lost[trial.trial_id] = self._live.pop(trial.trial_id)
        return found

    def again(self, trial_id: str, retry: Retry) -> None:
        """The lost one is tried again before any other."""
        task = self._lost.pop(trial_id)
        self._retry(task, retry)
        self._waiting.insert(0, task)

    def fail(self, trial_id: str, reason: str) -> None:
        """The lost one is not tried again."""
        self._fail(self._lost.pop(trial_id), reason)

    def left(self) -> int:
        """How many have not ended."""
        return len(self._live) + len(self._waiting) + self._undrawn()

    def set_max_concurrency(self, max_concurrent: int) -> bool:  # noqa: ARG002 Tune's interface
        """Tells Tune that no limiter is needed: `suggest` is one."""
        return True

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: what has ended is on disk."""

    @abstractmethod
    def _draw(self) -> Task | None:
        """The next that was never handed out; None if there is no other."""

    @abstractmethod
    def _undrawn(self) -> int:
        """How many `_draw` may still give."""

    @abstractmethod
    def _config(self, task: Task, attempt: int) -> dict[str, Any]:
        """What the trainable is given. attempt: ascending over all that are handed out."""

    @abstractmethod
    def _progress(self, task: Task, report: Progressed) -> None:
        """An iteration went well; not called for the one at which the scheduler stops a training."""

    @abstractmethod
    def _end(self, task: Task, last: TrialReport | None) -> None:
        """The task has ended by itself or by the scheduler. last: None where it never reported."""

    @abstractmethod
    def _retry(self, task: Task, retry: Retry) -> None:
        """Notes what is special about the next attempt."""

    @abstractmethod
    def _fail(self, task: Task, reason: str) -> None:
        """Notes that there is no next attempt."""


def run_tasks(
    trainable: Callable[..., None],
    tasks: Tasks[Any],
    callback: Callback,
    folder: Path,
    folder_of: Callable[[Trial], str],
    scheduler: TrialScheduler,
) -> None:
    """Runs all tasks on the Ray that is there.

    scheduler: says what each takes and where, as `Placing` does. callback: answers for lost ones. folder_of: the name
    of a task's own folder below `folder`.
    """
    try:
        with ended_workers_are_lost():
            # Not Tuner: it begins by pickling all of this into the folder.
            tune.run(
                trainable,
                name=folder.name,
                storage_path=str(folder.parent),
                # Until the tasks say that they are finished: how many attempts they take is not known.
                num_samples=-1,
                search_alg=tasks,
                scheduler=scheduler,
                callbacks=[callback],
                reuse_actors=True,
                raise_on_failed_trial=False,
                progress_reporter=Silent(),
                trial_dirname_creator=folder_of,
                verbose=0,
            )
    except Exception:
        tasks.first_error.raise_if_any()
        raise
    else:
        tasks.first_error.raise_if_any()
    finally:
        # Tune's snapshots, those of killed processes too: nobody reads them, they hold pickles, and they grow.
        for pattern in SNAPSHOTS:
            for path in folder.glob(pattern):
                path.unlink()
