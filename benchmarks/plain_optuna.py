"""Plain Optuna in a replay: a study with its TPE and one of its own pruners, the default configuration first."""

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.trial import Trial, TrialState

from hybridtune.search.replay.choosers import NearestRow
from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.simulation import Report
from hybridtune.search.study.distributions import distribution


class PlainOptuna:
    """Both what is tried next and who goes on: a pruner of Optuna knows its study alone. The row that is closest to
    what is suggested stands in for it.
    """

    continues = False

    def __init__(self, table: CurveTable, pruner: BasePruner, seed: int) -> None:
        self._iterations = table.iterations
        self._nearest = NearestRow(table)
        self._distributions = {name: distribution(dimension) for name, dimension in table.space.dimensions.items()}
        # Hyperband's brackets depend on the name.
        self._study = optuna.create_study(
            sampler=TPESampler(seed=seed), pruner=pruner, study_name=f"{table.name}, {seed}"
        )
        self._study.enqueue_trial(table.space.default())
        self._trials: list[Trial] = []

    def choose(self, left: NDArray[np.int64]) -> int:
        self._trials.append(self._study.ask(self._distributions))
        return self._nearest.stand_in(self._trials[-1], left)

    def tell(self, report: Report) -> None:
        trial = self._trials[report.number]
        if not np.isfinite(report.best):
            return
        trial.report(report.best, report.iteration)
        if report.iteration == self._iterations:
            self._study.tell(trial, report.best)

    def report(self, report: Report) -> bool:
        return report.iteration == self._iterations or not self._trials[report.number].should_prune()

    def stop(self, number: int, *, waits: bool) -> None:
        assert not waits
        self._study.tell(self._trials[number], state=TrialState.PRUNED)

    def fail(self, number: int) -> None:
        self._study.tell(self._trials[number], state=TrialState.FAIL)

    def next(self) -> int | None:
        return None
