"""How the trials of a search are halved, whichever way."""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from optuna.trial import FrozenTrial

from hybridtune.models.training.config import higher_is_better
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import SuccessiveHalving, brackets_of, decided_rungs, rungs_of, waits_at


class Halving(Protocol):
    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        """Iteration of the rung -> number of the trial -> its objective there."""

    def passes(self, number: int, iteration: int, value: float) -> bool:
        """Whether the trial goes on after this iteration; at a rung its value is recorded."""

    def waits_at(self, number: int) -> int | None:
        """The rung at which the trial waits to be continued; None if it does not."""

    def stopped(self, number: int) -> bool:
        """Whether the trial did not pass one of its rungs and never will."""

    def next(self) -> int | None:
        """A trial that waited and is continued from now on, before another is started."""

    def unlikely(self, likely: int) -> Set[int]:
        """Trials that wait and are the least likely to be continued, all but the `likely` most likely ones."""

    def leave(self, number: int) -> None:
        """The trial has ended by itself."""

    def forget(self, number: int) -> None:
        """The trial failed: nobody is to be measured against it."""


def halving_of(settings: Settings, trials: Sequence[FrozenTrial]) -> Halving:
    """As the settings ask for it. trials: those that the search has begun."""
    rungs = decided_rungs(trials, rungs_of(settings))
    maximize = higher_is_better(settings.metric)
    if settings.scheduler != "promotion":
        return SuccessiveHalving(rungs, settings.reduction_factor, maximize, brackets_of(settings))
    waiting = {trial.number: rung for trial in trials if (rung := waits_at(trial)) is not None}
    return Promotion(rungs, settings.iterations, settings.reduction_factor, maximize, waiting)
