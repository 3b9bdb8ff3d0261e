"""Plain Ray Tune in a replay: its own OptunaSearch and its own ASHAScheduler."""

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import TPESampler
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from hybridtune.search.replay.choosers import NearestRow
from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.simulation import Report
from hybridtune.search.study.distributions import distribution

LOSS = "loss"


class StockSchedule:
    continues = False

    def __init__(self, iterations: int, grace_period: int, reduction_factor: int) -> None:
        self._scheduler = ASHAScheduler(
            metric=LOSS,
            mode="min",
            max_t=iterations,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )

    def report(self, report: Report) -> bool:
        if report.iteration == 1:
            self._scheduler.on_trial_add(None, _trial(report.number))
        result = {TRAINING_ITERATION: report.iteration, LOSS: report.latest}
        action = self._scheduler.on_trial_result(None, _trial(report.number), result)
        return bool(action != TrialScheduler.STOP)

    def next(self) -> int | None:
        return None

    def fail(self, number: int) -> None:
        self._scheduler.on_trial_error(None, _trial(number))


class StockSearch:
    """The row that is closest to what is suggested stands in for it, also in the study that the search learns from."""

    def __init__(self, table: CurveTable, seed: int) -> None:
        space = {name: distribution(dimension) for name, dimension in table.space.dimensions.items()}
        self._search = OptunaSearch(space, metric=LOSS, mode="min", sampler=TPESampler(seed=seed))
        self._table = table
        self._nearest = NearestRow(table)
        self._latest: dict[int, Report] = {}
        self._asked = 0

    def choose(self, left: NDArray[np.int64]) -> int:
        name = str(self._asked)
        self._asked += 1
        params = self._search.suggest(name)
        assert params is not None
        return self._nearest.stand_in(self._search._ot_trials[name], left)

    def tell(self, report: Report) -> None:
        self._latest[report.number] = report
        if not np.isfinite(report.best):
            self._search.on_trial_complete(str(report.number), error=True)
            return
        self._search.on_trial_result(str(report.number), self._result(report))
        if report.iteration == self._table.iterations:
            self.stop(report.number, waits=False)

    def stop(self, number: int, *, waits: bool) -> None:
        assert not waits
        self._search.on_trial_complete(str(number), self._result(self._latest[number]))

    def _result(self, report: Report) -> dict[str, float]:
        return {LOSS: report.latest, TRAINING_ITERATION: report.iteration}


def _trial(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=str(number))
