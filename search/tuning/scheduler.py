"""ASHA: asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", algorithm 2 in its stopping variant), in one bracket or in those of Hyperband (Li et al. 2018, algorithm 1).
The rules are pure functions; a thin class adapts them to Tune.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.run.trial_report import Progressed, report_from_tune
from search.study.rungs import Rungs, survives
from search.workers.trainable import TrialTask

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class Asha(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial that is not among the best of its rung. Records a rung when a trial first crosses it."""

    def __init__(
        self,
        rungs: Rungs,
        reduction_factor: int,
        maximize: bool,
        bracket: Callable[[int], int] = lambda number: 0,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """bracket: number of the trial -> how many of the lowest rungs it passes by; it is compared with the trials
        of its own bracket only. is_over: whether every trial is to stop now.
        """
        super().__init__()
        self._rungs = rungs
        self._reduction_factor = reduction_factor
        self._maximize = maximize
        self._bracket = bracket
        self._is_over = is_over

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        return self._rungs

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        report = report_from_tune(result)
        if not isinstance(report, Progressed):
            return str(TrialScheduler.STOP)
        number = TrialTask.from_tune(trial.config).number
        goes_on = self._passes(number, report.progress.iteration, report.progress.objective)
        # A trial that is finished has nothing left to stop; it counts as complete.
        if report.finished:
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.CONTINUE if goes_on and not self._is_over() else TrialScheduler.STOP)

    def _passes(self, number: int, iteration: int, value: float) -> bool:
        rung, bracket = self._rungs.get(iteration), self._bracket(number)
        if rung is None or number in rung or iteration in sorted(self._rungs)[:bracket]:
            return True
        peers = [other for peer, other in rung.items() if self._bracket(peer) == bracket]
        rung[number] = value
        return survives(value, peers, self._reduction_factor, self._maximize)
