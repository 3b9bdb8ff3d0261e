"""The schedules of a replay: those of a search, and two that are simpler."""

from hybridtune.search.replay.simulation import Report
from hybridtune.search.study.halving import Halving
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import Rungs, SuccessiveHalving, rung_iterations


class Halved:
    """By the object that decides in a search."""

    def __init__(self, halving: Halving, *, continues: bool) -> None:
        self._halving = halving
        self.continues = continues

    def report(self, report: Report) -> bool:
        return self._halving.passes(report.number, report.iteration, report.best)

    def next(self) -> int | None:
        return self._halving.next()

    def fail(self, number: int) -> None:
        self._halving.forget(number)


def stopping(iterations: int, grace_period: int, reduction_factor: int) -> Halved:
    """ASHA that stops: whoever does not pass a rung is never continued."""
    rungs: Rungs = {rung: {} for rung in rung_iterations(grace_period, reduction_factor, iterations)}
    return Halved(SuccessiveHalving(rungs, reduction_factor, maximize=False), continues=False)


def promoting(iterations: int, grace_period: int, reduction_factor: int) -> Halved:
    """ASHA that promotes."""
    rungs: Rungs = {rung: {} for rung in rung_iterations(grace_period, reduction_factor, iterations)}
    return Halved(Promotion(rungs, iterations, reduction_factor, maximize=False), continues=True)


class FirstTop:
    """All trials train for one iteration, the default to its end; once all have, the best goes on to its end too (Egele
    et al. 2023, "Is One Epoch All You Need For Multi-Fidelity Hyperparameter Optimization?").
    """

    continues = True

    def __init__(self, trials: int) -> None:
        """trials: how many the search begins, of which a table must have as many."""
        self._trials = trials
        self._values: dict[int, float] = {}
        self._best: int | None = None

    def report(self, report: Report) -> bool:
        if report.iteration == 1:
            self._reach(report.number, report.best)
        return report.number == 0 or report.iteration > 1

    def next(self) -> int | None:
        best, self._best = self._best, None
        return best

    def fail(self, number: int) -> None:
        self._reach(number, float("inf"))

    def _reach(self, number: int, value: float) -> None:
        self._values[number] = value
        if len(self._values) == self._trials:
            best = min(self._values, key=self._values.__getitem__)
            self._best = best if best > 0 else None


class ToTheEnd:
    """Nobody is stopped."""

    continues = False

    def report(self, report: Report) -> bool:  # noqa: ARG002 the one signature
        return True

    def next(self) -> int | None:
        return None

    def fail(self, number: int) -> None:
        pass
