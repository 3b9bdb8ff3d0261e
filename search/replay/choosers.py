"""What is tried next in a replay: a row by chance, or the one that is closest to what a sampler of a search draws."""

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import Trial, TrialState

from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.simulation import Report
from hybridtune.search.study.sampler import distribution
from hybridtune.search.study.storage import StudyMemory
from hybridtune.search.study.study import ask, report_value
from hybridtune.spaces.encoding import Encoding
from hybridtune.spaces.parameters import Config


class AnyRow:
    """By chance."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose(self, left: NDArray[np.int64]) -> int:
        return int(self._rng.choice(left))

    def tell(self, report: Report) -> None:
        pass

    def stop(self, number: int) -> None:
        pass


class DrawnRow:
    """By a study, as a search asks it. The study learns the row that stands in for its draw."""

    def __init__(self, table: CurveTable, sampler: str, seed: int) -> None:
        """sampler: see search.study.sampler."""
        self._table = table
        self._sampler = sampler
        self._seed = seed
        self._study = optuna.create_study(storage=StudyMemory())
        self._nearest = NearestRow(table)
        self._trials: list[Trial] = []

    def choose(self, left: NDArray[np.int64]) -> int:
        trial = ask(self._study, self._table.space, self._seed, self._sampler)
        row = self._nearest.among(left, trial.params)
        replace_params(trial, self._table, row)
        self._trials.append(trial)
        return row

    def tell(self, report: Report) -> None:
        trial = self._trials[report.number]
        if not np.isfinite(report.best):
            self._study.tell(trial, state=TrialState.FAIL)
            return
        report_value(trial, report.iteration, report.best)
        if report.iteration == self._table.iterations:
            self._study.tell(trial, report.best)

    def stop(self, number: int) -> None:
        self._study.tell(self._trials[number], state=TrialState.PRUNED)


class NearestRow:
    def __init__(self, table: CurveTable) -> None:
        self._encoding = Encoding(table.space)
        self._points_ND = self._encoding.points(table.params)

    def among(self, left: NDArray[np.int64], params: Config) -> int:
        """The row of `left` whose configuration is closest to this one."""
        point_1D = self._encoding.points([params])
        return int(left[np.argmin(((self._points_ND[left] - point_1D) ** 2).sum(axis=1))])


def replace_params(trial: Trial, table: CurveTable, row: int) -> None:
    """The study knows the trial with the row's configuration from now on."""
    for name, value in table.params[row].items():
        known = distribution(table.space.dimensions[name])
        trial.storage.set_trial_param(trial._trial_id, name, known.to_internal_repr(value), known)
