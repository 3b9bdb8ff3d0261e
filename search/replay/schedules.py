"""The schedules of a replay, each around the object that decides in a search."""

from dataclasses import dataclass, field

from hybridtune.search.replay.simulation import Promoted, Report
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import Rungs, SuccessiveHalving, rung_iterations


class Stopping:
    """ASHA that stops: whoever does not pass a rung is never continued."""

    continues = False

    def __init__(self, iterations: int, grace_period: int, reduction_factor: int) -> None:
        rungs: Rungs = {rung: {} for rung in rung_iterations(grace_period, reduction_factor, iterations)}
        self._halving = SuccessiveHalving(rungs, reduction_factor, maximize=False)
        self._iterations = iterations

    def start(self, number: int) -> int:  # noqa: ARG002 one signature
        return self._iterations

    def report(self, report: Report) -> int:
        goes_on = self._halving.passes(report.number, report.iteration, report.best)
        return self._iterations if goes_on else report.iteration

    def next(self) -> Promoted | None:
        return None

    def fail(self, number: int) -> None:
        self._halving.forget(number)


class Promoting:
    """ASHA that promotes."""

    continues = True

    def __init__(self, iterations: int, grace_period: int, reduction_factor: int) -> None:
        rungs: Rungs = {rung: {} for rung in rung_iterations(grace_period, reduction_factor, iterations)}
        self._promotion = Promotion(rungs, iterations, reduction_factor, maximize=False)

    def start(self, number: int) -> int:
        return self._promotion.target(number)

    def report(self, report: Report) -> int:
        goes_on = self._promotion.passes(report.number, report.iteration, report.best)
        return self._promotion.target(report.number) if goes_on else report.iteration

    def next(self) -> Promoted | None:
        number = self._promotion.next()
        return None if number is None else Promoted(number, self._promotion.target(number))

    def fail(self, number: int) -> None:
        self._promotion.forget(number)


@dataclass
class FirstTop:
    """All trials train for one iteration; the best of them, once all have, to their end (Egele et al. 2023)."""

    iterations: int
    trials: int
    kept: int = 1
    continues: bool = True
    _values: dict[int, float] = field(default_factory=dict)
    _top: list[int] = field(default_factory=list)

    def start(self, number: int) -> int:
        return self.iterations if number == 0 else 1

    def report(self, report: Report) -> int:
        if report.iteration == 1:
            self._reach(report.number, report.best)
        return self.iterations if report.number == 0 or report.iteration > 1 else 1

    def next(self) -> Promoted | None:
        return Promoted(self._top.pop(), self.iterations) if self._top else None

    def fail(self, number: int) -> None:
        self._reach(number, float("inf"))

    def _reach(self, number: int, value: float) -> None:
        self._values[number] = value
        if len(self._values) == self.trials:
            best = sorted(self._values, key=self._values.__getitem__)[: self.kept]
            self._top = [one for one in reversed(best) if one != 0]


class ToTheEnd:
    """Nobody is stopped."""

    continues = False

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations

    def start(self, number: int) -> int:  # noqa: ARG002 one signature
        return self._iterations

    def report(self, report: Report) -> int:  # noqa: ARG002
        return self._iterations

    def next(self) -> Promoted | None:
        return None

    def fail(self, number: int) -> None:
        pass
