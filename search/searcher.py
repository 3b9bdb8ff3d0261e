"""The study behind Tune's searcher interface.

The study in study.db is the truth of the search. Tune's own snapshots are neither written nor restored: a
resumed search is a new Tune experiment, to which this searcher first hands the trials that were under way.
That also means that nothing is ever unpickled from a run directory.
"""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from search.study import ask, config_of, reopen, report, started, tell
from search.tasks import Tasks
from spaces.parameters import Space


class StudySearcher(Tasks[Trial]):
    """Hands out {number, flat, reported, micro_batch}: the trial's number, its configuration, how many of its
    iterations the study knows already, and how many anchors fitted into memory then.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        trials: int,
        concurrent: int,
        seed: int,
        sampler: str = "tpe",
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """sampler: see search.sampler. enough: whether no further trial is wanted, though there are fewer."""
        running = [trial for trial in started(study) if trial.state == TrialState.RUNNING]
        super().__init__(concurrent, [reopen(study, trial, space) for trial in running])
        self._study = study
        self._space = space
        self._trials = trials
        self._seed = seed
        self._sampler = sampler
        self._enough = enough
        self._asked = len(started(study))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._keep(self._live[trial_id], result)

    def _draw(self) -> Trial | None:
        if self._asked >= self._trials or self._enough():
            return None
        self._asked += 1
        return ask(self._study, self._space, self._seed, self._sampler)

    def _config(self, task: Trial) -> dict[str, Any]:
        known = self._study.get_trials(deepcopy=False)[task.number].intermediate_values
        return {
            "number": task.number,
            "flat": config_of(task),
            "reported": max(known, default=0),
            "micro_batch": task.user_attrs.get("micro_batch"),
        }

    def _keep(self, trial: Trial, result: dict[str, Any]) -> None:
        report(trial, result["iteration"], result["objective"])
        # A resumed trial repeats reports from before it ran out of memory.
        anchors = min(result["micro_batch"], trial.user_attrs.get("micro_batch", result["micro_batch"]))
        for name, value in (("runs_on", result["runs_on"]), ("micro_batch", anchors)):
            if trial.user_attrs.get(name) != value:
                trial.set_user_attr(name, value)

    def _end(self, task: Trial, result: dict[str, Any] | None) -> None:
        if result is None or result["failure"] is not None:
            self._fail(task, result["failure"] if result else "it ended without a report")
            return
        self._keep(task, result)
        state = TrialState.COMPLETE if result["finished"] else TrialState.PRUNED
        tell(self._study, task, state, result["objective"])

    def _retry(self, task: Trial, micro_batch: int) -> None:
        task.set_user_attr("retries", task.user_attrs.get("retries", 0) + 1)
        task.set_user_attr("micro_batch", micro_batch)

    def _fail(self, task: Trial, reason: str) -> None:
        task.set_user_attr("failure", reason)
        tell(self._study, task, TrialState.FAIL)
