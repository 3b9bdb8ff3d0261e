"""The study behind Tune's searcher interface.

The study in study.db is the truth of the search. Tune's own snapshots are neither written nor restored: a
resumed search is a new Tune experiment, to which this searcher first hands the trials that were under way.
That also means that nothing is ever unpickled from a run directory.
"""

import logging
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from search.study import ask, config_of, reopen, report, started, tell
from spaces.parameters import Space

logger = logging.getLogger(__name__)


class StudySearcher(Searcher):  # type: ignore[misc]
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
        super().__init__(metric="objective", mode="min")
        self._study = study
        self._space = space
        self._trials = trials
        self._concurrent = concurrent
        self._seed = seed
        self._sampler = sampler
        self._enough = enough
        self._live: dict[str, Trial] = {}
        running = [trial for trial in started(study) if trial.state == TrialState.RUNNING]
        self._unfinished = [reopen(study, trial, space) for trial in running]
        self._asked = len(started(study))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if len(self._live) >= self._concurrent:
            return None
        if self._unfinished:
            trial = self._unfinished.pop(0)
        elif self._asked >= self._trials or self._enough():
            return str(Searcher.FINISHED)
        else:
            trial = ask(self._study, self._space, self._seed, self._sampler)
            self._asked += 1
        self._live[trial_id] = trial
        known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        return {
            "number": trial.number,
            "flat": config_of(trial),
            "reported": max(known, default=0),
            "micro_batch": trial.user_attrs.get("micro_batch"),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._keep(self._live[trial_id], result)

    def _keep(self, trial: Trial, result: dict[str, Any]) -> None:
        report(trial, result["iteration"], result["objective"])
        # A resumed trial repeats reports from before it ran out of memory.
        anchors = min(result["micro_batch"], trial.user_attrs.get("micro_batch", result["micro_batch"]))
        for name, value in (("runs_on", result["runs_on"]), ("micro_batch", anchors)):
            if trial.user_attrs.get(name) != value:
                trial.set_user_attr(name, value)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune calls this for a trial's end of any kind, with the report that the scheduler stopped it at."""
        trial = self._live.pop(trial_id)
        if error or result is None or result["failure"] is not None:
            unknown = trial.user_attrs.get("error", "its worker was lost")
            reason = result["failure"] if result and not error else unknown
            trial.set_user_attr("failure", reason)
            tell(self._study, trial, TrialState.FAIL)
            return
        self._keep(trial, result)
        state = TrialState.COMPLETE if result["finished"] else TrialState.PRUNED
        tell(self._study, trial, state, result["objective"])

    def count_retry(self, trial_id: str, error: str) -> None:
        """error: what ended the attempt, in a line; a trial without retries left is said to have failed of that."""
        trial = self._live[trial_id]
        trial.set_user_attr("error", error)
        trial.set_user_attr("retries", trial.user_attrs.get("retries", 0) + 1)

    def set_max_concurrency(self, max_concurrent: int) -> bool:  # noqa: ARG002 Tune's interface
        """Tells Tune that no limiter is needed: `suggest` is one."""
        return True

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: the study is on disk."""
