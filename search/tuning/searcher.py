"""A searcher of Tune's that hands out the trials of the study.

The study in study.db is the truth of the search. Tune's own snapshots are neither written nor restored: a
resumed search is a new Tune experiment, to which this searcher first hands the trials that were under way.
That also means that nothing is ever unpickled from a run directory.
"""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.study.halving import Halving
from hybridtune.search.study.rungs import WAITS_AT, waits_at
from hybridtune.search.study.study import ask, config_of, reopen, report_value, started, tell
from hybridtune.search.workers.tasks import Retry, Tasks
from hybridtune.search.workers.trainable import TrialTask
from hybridtune.spaces.parameters import Space


class StudySearcher(Tasks[Trial]):
    """Hands out the trials of a study as TrialTasks, and tells the study what became of them."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        trials: int,
        concurrent: Callable[[], int],
        seed: int,
        halving: Halving,
        sampler: str = "tpe",
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """halving: tells a trial that did not pass a rung, or waits at it, from one whose time was over. sampler: see
        search.study.sampler. enough: whether no further trial is wanted, though there are fewer.
        """
        open_ones = [trial for trial in started(study) if trial.state == TrialState.RUNNING]
        running = [trial for trial in open_ones if waits_at(trial) is None]
        super().__init__(concurrent, [reopen(study, trial, space) for trial in running])
        self._study = study
        self._space = space
        self._trials = trials
        self._seed = seed
        self._sampler = sampler
        self._halving = halving
        self._enough = enough
        self._asked = len(started(study))

    def _draw(self) -> Trial | None:
        if not self._enough() and (number := self._halving.next()) is not None:
            waiting = reopen(self._study, self._study.get_trials(deepcopy=False)[number], self._space)
            waiting.set_user_attr(WAITS_AT, None)
            return waiting
        if self._undrawn() == 0:
            return None
        self._asked += 1
        return ask(self._study, self._space, self._seed, self._sampler)

    def _undrawn(self) -> int:
        return 0 if self._enough() else max(0, self._trials - self._asked)

    def _config(self, task: Trial, attempt: int) -> dict[str, Any]:
        known = self._study.get_trials(deepcopy=False)[task.number].intermediate_values
        return TrialTask(
            task.number,
            config_of(task),
            max(known, default=0),
            task.user_attrs.get("micro_batch"),
            attempt,
            task.user_attrs.get("alone", False),
        ).to_tune()

    def _progress(self, task: Trial, report: Progressed) -> None:
        known = self._study.get_trials(deepcopy=False)[task.number].intermediate_values
        noted: dict[str, Any] = {"runs_on": report.runs_on, "host": report.host}
        # A resumed trial repeats reports of an earlier attempt, which had more memory or less.
        if report.progress.iteration not in known:
            noted["micro_batch"] = report.progress.micro_batch
        report_value(task, report.progress.iteration, report.progress.decisive)
        for name, value in noted.items():
            if task.user_attrs.get(name) != value:
                task.set_user_attr(name, value)

    def _end(self, task: Trial, last: TrialReport | None) -> None:
        match last:
            case None:
                self._fail(task, "it ended without a report")
            case Failed():
                self._fail(task, last.reason)
            case Progressed():
                self._progress(task, last)
                if last.finished:
                    tell(self._study, task, TrialState.COMPLETE, last.progress.decisive)
                elif (rung := self._halving.waits_at(task.number)) is not None:
                    task.set_user_attr(WAITS_AT, rung)
                elif self._halving.stopped(task.number):
                    tell(self._study, task, TrialState.PRUNED)
                # Else the search's time is over: the trial stays under way, and a resume takes it up again.

    def _retry(self, task: Trial, retry: Retry) -> None:
        counted = "hosts_lost" if retry.host_lost else "retries"
        task.set_user_attr(counted, task.user_attrs.get(counted, 0) + 1)
        task.set_user_attr("micro_batch", retry.micro_batch)
        if retry.alone:
            task.set_user_attr("alone", True)

    def _fail(self, task: Trial, reason: str) -> None:
        self._halving.forget(task.number)
        task.set_user_attr("failure", reason)
        tell(self._study, task, TrialState.FAIL)
