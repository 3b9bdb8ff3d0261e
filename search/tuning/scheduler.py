"""Successive halving as a scheduler of Tune's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hybridtune.search.run.trial_report import Progressed, report_from_tune
from hybridtune.search.study.halving import Halving
from hybridtune.search.workers.placing import Placing
from hybridtune.search.workers.trainable import TrialTask

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class Asha(Placing):
    """Stops the trials that do not pass their rung, and all once the search is over."""

    def __init__(
        self,
        halving: Halving,
        is_over: Callable[[], bool] = lambda: False,
        gpus: float = 0.0,
        avoided: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        super().__init__(gpus, avoided)
        self._halving = halving
        self._is_over = is_over

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        report = report_from_tune(result)
        if not isinstance(report, Progressed):
            return str(TrialScheduler.STOP)
        number = TrialTask.from_tune(trial.config).number
        goes_on = self._halving.passes(number, report.progress.iteration, report.progress.decisive)
        # A trial that is finished has nothing left to stop; it counts as complete.
        if report.finished:
            self._halving.leave(number)
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.CONTINUE if goes_on and not self._is_over() else TrialScheduler.STOP)
