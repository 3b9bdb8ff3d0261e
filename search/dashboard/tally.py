"""What the trials of a run come to, counted trial by trial."""

from collections import Counter
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from hybridtune.models.training.config import higher_is_better
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import decided_rungs, rungs_of
from hybridtune.search.study.standing import last_iteration
from hybridtune.search.study.study import RUNNING, state_of


@dataclass
class OfRung:
    reached: int = 0
    went_on: int = 0
    """Of them, those that were trained beyond it."""
    best: float | None = None


@dataclass
class OfHost:
    latest: int = -1
    """Number of the last trial that began there."""
    runs_on: str = ""
    """What that one runs on."""
    running: list[int] = field(default_factory=list)
    ended: int = 0


class Tally:
    """Each trial is added once, in any order."""

    def __init__(self, settings: Settings) -> None:
        self._better = max if higher_is_better(settings.metric) else min
        self.states: Counter[str] = Counter()
        self.iterations = 0
        self.rungs = {iteration: OfRung() for iteration in rungs_of(settings)}
        self.hosts: dict[str, OfHost] = {}

    def add(self, trial: FrozenTrial) -> None:
        state, last = state_of(trial), last_iteration(trial)
        self.states[state] += 1
        self.iterations += last
        for iteration, values in decided_rungs([trial], tuple(self.rungs)).items():
            for value in values.values():
                rung = self.rungs[iteration]
                rung.reached += 1
                rung.went_on += last > iteration
                rung.best = value if rung.best is None else self._better(rung.best, value)
        if "host" in trial.user_attrs:
            host = self.hosts.setdefault(str(trial.user_attrs["host"]), OfHost())
            if trial.number > host.latest:
                host.latest, host.runs_on = trial.number, str(trial.user_attrs.get("runs_on", ""))
            if state == RUNNING:
                host.running.append(trial.number)
            host.ended += trial.state.is_finished()
