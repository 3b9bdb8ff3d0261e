"""Keeps what the trials of a search report: curve points, TensorBoard events, and lines for the terminal."""

import math
import time
from collections.abc import Callable, Collection
from functools import partial

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybridtune.search.run.curves import append_curve_point
from hybridtune.search.run.run_dir import RunDir, trial_name
from hybridtune.search.run.say import Say
from hybridtune.search.run.trial_report import Progressed, TrialReport
from hybridtune.search.study.backup import back_up
from hybridtune.search.study.halving import Halving
from hybridtune.search.study.rungs import waits_at
from hybridtune.search.study.standing import Standing, last_iteration
from hybridtune.search.study.stopping import StoppingRule
from hybridtune.search.tuning.events import EventFile
from hybridtune.search.tuning.pace import Pace
from hybridtune.search.workers.checkpoint import remove_checkpoints
from hybridtune.search.workers.progress import describe
from hybridtune.search.workers.trainable import TrialTask

COPY_SHARE = 0.02
"""Of the time that copies of the study may take: of a large one they are rarer."""
LIKELY_A_WORKER = 4
"""So many of the waiting trials, for each that trains, keep their checkpoints: those that are the most likely to be
continued. If one of the others is continued all the same, it trains again what it had reached.
"""
SCALARS = ("train_loss", "tune_loss", "tune_auc", "objective")


class Recorder:
    """The listener of the search stage; see search.workers.callback."""

    def __init__(
        self,
        run: RunDir,
        study: optuna.Study,
        trials: int,
        rungs: tuple[int, ...],
        stopping: StoppingRule,
        say: Say,
        halving: Halving,
        workers: Callable[[], int],
    ) -> None:
        """workers: how many train at once."""
        self._run = run
        document = run.document()
        self._epoch = document.epoch
        self._every_dimension = {name: document.settings.reference[name] for name in document.settings.dimensions}
        self._study = study
        self._trials = trials
        self._grace_period = document.settings.grace_period
        self._rungs = rungs
        self._stopping = stopping
        self._say = say
        self._workers = workers
        self._halving = halving
        self._pace = Pace()
        self._without_checkpoint: set[int] = set()
        self._events: dict[int, EventFile] = {}
        self._standing = Standing(study)
        self._copied, self._copy_seconds = -math.inf, 0.0

    def started(self, task: TrialTask) -> None:
        self._events[task.number] = EventFile(self._run.trial(task.number))
        again = f" again after iteration {task.reported}" if task.reported else ""
        self._say(f"{task.name} starts{again}: {describe(task.params)}")
        if self._run.kept_in is not None:
            # A successor without this host draws the next number, and not this one again.
            self._keep()

    def progressed(self, task: TrialTask, report: Progressed) -> None:
        progress = report.progress
        self._pace.progressed(task.number, progress.seconds)
        append_curve_point(self._run.curve_log, task.number, progress)
        self._events[task.number].add(progress.iteration, {name: getattr(progress, name) for name in SCALARS})
        if progress.iteration in self._rungs:
            self._keep()

    def retried(self, task: TrialTask) -> None:
        self._close_events(task.number)

    def ended(self, task: TrialTask, last: TrialReport | None) -> None:  # noqa: ARG002 the study knows it already
        self._end(task)

    def lost(self, task: TrialTask, reason: str) -> None:  # noqa: ARG002
        self._end(task)

    def tick(self) -> None:
        self._stopping.tick()

    def _end(self, task: TrialTask) -> None:
        ended = self._study.get_trials(deepcopy=False)[task.number]
        if ended.state.is_finished():
            self._tell_result(task, ended)
        self._close_events(task.number)
        self._stopping.save()
        # The finalists are trained anew. A trial under way goes on from its checkpoint, a failed one keeps what was
        # good to the last, for who wants to know why.
        over = ended.state in (TrialState.COMPLETE, TrialState.PRUNED)
        self._without_checkpoint.discard(task.number)
        unlikely = self._halving.unlikely(LIKELY_A_WORKER * self._workers())
        dispensable = (unlikely | ({task.number} if over else set())) - self._without_checkpoint
        self._without_checkpoint |= dispensable
        self._keep(partial(self._remove_checkpoints, dispensable) if dispensable else None)
        self._standing.look()
        best = self._standing.best
        so_far = f"best so far {best.value:.4f} (trial {best.number})" if best else "none complete yet"
        wait = f", {waiting} waiting" if (waiting := self._standing.waiting) else ""
        done = f"{self._standing.finished} of {self._trials} done{wait}"
        self._say(f"{task.name} {describe_end(ended)}; {done}; {so_far}")
        too_short = self._pace.ended(task.number, self._workers(), self._grace_period)
        if too_short and self._rungs:
            self._say(too_short)

    def _keep(self, then: Callable[[], None] | None = None) -> None:
        # What is kept elsewhere is the copy: it has to be of now.
        if self._run.kept_in is not None or time.monotonic() - self._copied >= self._copy_seconds / COPY_SHARE:
            began = time.monotonic()
            back_up(self._run)
            self._copied = time.monotonic()
            self._copy_seconds = self._copied - began
        self._run.keeper.keep_search(then)

    def _remove_checkpoints(self, numbers: Collection[int]) -> None:
        for number in sorted(numbers):
            remove_checkpoints(self._run.place, trial_name(number), self._epoch)

    def _tell_result(self, task: TrialTask, ended: FrozenTrial) -> None:
        # A trial whose worker was lost before it began has no events.
        if events := self._events.get(task.number):
            events.add_result(last_iteration(ended), task.params, self._every_dimension, ended.value)

    def _close_events(self, number: int) -> None:
        if events := self._events.pop(number, None):
            events.close()


def describe_end(trial: FrozenTrial) -> str:
    last = last_iteration(trial)
    match trial.state:
        case TrialState.COMPLETE:
            return f"complete after iteration {last}: {trial.value:.4f}"
        case TrialState.PRUNED:
            return f"stopped at iteration {last}: {trial.value:.4f}"
        case TrialState.RUNNING if waits_at(trial) is not None:
            return f"waits at iteration {last}: {trial.intermediate_values[last]:.4f}"
        case TrialState.RUNNING:
            return f"interrupted after iteration {last}, the search's time is over: a resume with more time goes on"
        case _:
            return f"failed: {trial.user_attrs.get('failure')}"
