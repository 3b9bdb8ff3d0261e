"""ASHA: asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", algorithm 2 in its stopping variant). The rules are pure functions; a thin class adapts them to Tune.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

Rungs = dict[int, dict[int, float]]
"""Iteration of the rung -> number of the trial -> its objective there."""


def rung_iterations(grace_period: int, reduction_factor: int, iterations: int) -> tuple[int, ...]:
    """The iterations at which ASHA decides: grace * reduction^k below the full budget."""
    rungs = []
    rung = grace_period
    while rung < iterations:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)


def survives(value: float, others: Iterable[float], reduction_factor: int, maximize: bool) -> bool:
    """Whether a value is among the best 1/reduction_factor of its rung, itself included.

    At least one survives: the best so far always goes on, and the first to arrive is the best so far.
    """
    others = list(others)
    kept = max(1, (len(others) + 1) // reduction_factor)
    better = sum(other > value if maximize else other < value for other in others)
    return better < kept


def decided_rungs(trials: Sequence[FrozenTrial], iterations: Sequence[int]) -> Rungs:
    """The rungs of a study, for a resume.

    A running trial whose last report is at a rung may have died before the decision there was carried out; it
    reports that rung again and is decided again.
    """
    rungs: Rungs = {iteration: {} for iteration in iterations}
    for trial in trials:
        last = max(trial.intermediate_values, default=0)
        for iteration in iterations:
            decided = iteration < last or trial.state != TrialState.RUNNING
            if iteration in trial.intermediate_values and decided:
                rungs[iteration][trial.number] = trial.intermediate_values[iteration]
    return rungs


class Asha(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial that is not among the best of its rung. Records a rung when a trial first crosses it."""

    def __init__(self, rungs: Rungs, reduction_factor: int, maximize: bool) -> None:
        super().__init__()
        self._rungs = rungs
        self._reduction_factor = reduction_factor
        self._maximize = maximize

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        return self._rungs

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        if result["failure"] is not None:
            return str(TrialScheduler.STOP)
        rung = self._rungs.get(result["iteration"])
        number = trial.config["number"]
        if rung is None or number in rung:
            return str(TrialScheduler.CONTINUE)
        value = result["objective"]
        goes_on = survives(value, rung.values(), self._reduction_factor, self._maximize)
        rung[number] = value
        # A trial that is finished has nothing left to stop; it counts as complete.
        return str(TrialScheduler.CONTINUE if goes_on or result["finished"] else TrialScheduler.STOP)
