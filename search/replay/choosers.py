"""What is tried next in a replay: a row by chance, or the one that is closest to what a sampler of a search draws."""

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import Trial, TrialState

from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.simulation import Report
from hybridtune.search.study.coordinates import Coordinates, Points
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.latest_sampler import LatestSampler
from hybridtune.search.study.rungs import WAITS_AT
from hybridtune.search.study.sampler import MakeSampler
from hybridtune.search.study.storage import StudyMemory
from hybridtune.search.study.study import ask, report_value
from hybridtune.spaces.parameters import Config, Space


class AnyRow:
    """By chance."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose(self, left: NDArray[np.int64]) -> int:
        return int(self._rng.choice(left))

    def tell(self, report: Report) -> None:
        pass

    def stop(self, number: int, *, waits: bool) -> None:
        pass


class DrawnRow:
    """By a study, as a search asks it. The study learns the row that stands in for its draw."""

    def __init__(self, table: CurveTable, sampler: str | MakeSampler, seed: int) -> None:
        """sampler: see search.study.sampler."""
        self._table = table
        self._sampler = sampler
        self._seed = seed
        self._study = optuna.create_study(storage=StudyMemory())
        self._nearest = NearestRow(table)
        self._trials: list[Trial] = []

    def choose(self, left: NDArray[np.int64]) -> int:
        self._trials.append(ask(self._study, self._table.space, self._seed, self._sampler))
        return self._nearest.stand_in(self._trials[-1], left)

    def tell(self, report: Report) -> None:
        trial = self._trials[report.number]
        if not np.isfinite(report.best):
            self._study.tell(trial, state=TrialState.FAIL)
            return
        report_value(trial, report.iteration, report.best)
        if trial.user_attrs.get(WAITS_AT) is not None:
            trial.set_user_attr(WAITS_AT, None)
        if report.iteration == self._table.iterations:
            self._study.tell(trial, report.best)

    def stop(self, number: int, *, waits: bool) -> None:
        trial = self._trials[number]
        if waits:
            trial.set_user_attr(WAITS_AT, max(self._study.get_trials(deepcopy=False)[number].intermediate_values))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)


class ModelledRow(DrawnRow):
    """As DrawnRow, by LatestSampler; its model chooses among the rows themselves."""

    def __init__(self, table: CurveTable, seed: int, *, prior: bool = True) -> None:
        """prior: whether some draws are near the default."""
        super().__init__(table, self._make_sampler, seed)
        self._prior = prior
        self._left = np.arange(len(table.params))

    def choose(self, left: NDArray[np.int64]) -> int:
        self._left = left
        return super().choose(left)

    def _make_sampler(self, space: Space, seed: int) -> LatestSampler:
        return _AmongRows(space, seed, self._nearest.points_NC[self._left], prior=self._prior)


class _AmongRows(LatestSampler):
    def __init__(self, space: Space, seed: int, left: Points, *, prior: bool) -> None:
        super().__init__(space, seed)
        self._left = left
        self._prior = prior

    def candidates(self, coordinates: Coordinates, best_first: Points) -> Points:  # noqa: ARG002
        return self._left

    def near_default(self, known: int) -> float:
        return super().near_default(known) if self._prior else 0.0


class NearestRow:
    """The row of a table that is closest to a configuration."""

    def __init__(self, table: CurveTable) -> None:
        self._table = table
        known = {name: distribution(dimension) for name, dimension in table.space.dimensions.items()}
        self._coordinates = Coordinates({name: one for name, one in known.items() if not one.single()})
        self.points_NC = self._coordinates.points(table.params)

    def stand_in(self, trial: Trial, left: NDArray[np.int64]) -> int:
        """The row of `left` that is closest to the trial's configuration. The study knows the trial with the row's from
        now on.
        """
        row = self._among(left, trial.params)
        for name, value in self._table.params[row].items():
            known = distribution(self._table.space.dimensions[name])
            trial.storage.set_trial_param(trial._trial_id, name, known.to_internal_repr(value), known)
        return row

    def _among(self, left: NDArray[np.int64], params: Config) -> int:
        point_1C = self._coordinates.points([params])
        return int(left[np.argmin(((self.points_NC[left] - point_1C) ** 2).sum(axis=1))])
