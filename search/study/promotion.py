"""ASHA by promotion (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2): a trial
waits at every rung, and a free worker continues the best that wait before it starts another.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hybridtune.search.study.rungs import Rungs


class Promoted(NamedTuple):
    number: int
    to: int
    """The iteration at which it is to stop next: a rung, or the full budget."""


class Promotion:
    """Who is continued from which rung. A rung keeps the value with which a trial first reached it, whatever became of
    the trial: one that is promoted still counts among those that its peers are measured against.
    """

    def __init__(self, rungs: Rungs, iterations: int, reduction_factor: int, maximize: bool) -> None:
        """rungs: with what is known already; all of these trials count as promoted until `wait` says otherwise.
        iterations: the full budget.
        """
        self._rungs = rungs
        self._targets = sorted(rungs)
        self._next = dict(zip(self._targets, [*self._targets[1:], iterations], strict=True))
        self._reduction_factor = reduction_factor
        self._sign = -1 if maximize else 1
        self._reached: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        self._waiting: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        """Of each rung (value, number), the best first."""
        for rung, values in rungs.items():
            for number, value in values.items():
                insort(self._reached[rung], (self._sign * value, number))

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        return self._rungs

    @property
    def first(self) -> int:
        """The iteration at which a new trial stops first."""
        return self._targets[0]

    def reach(self, number: int, rung: int, value: float) -> None:
        """The trial has trained as far as the rung. A second report of it changes nothing."""
        if number not in self._rungs[rung]:
            self._rungs[rung][number] = value
            insort(self._reached[rung], (self._sign * value, number))

    def wait(self, number: int, rung: int) -> None:
        """The trial stops at the rung that it has reached, until it is promoted."""
        insort(self._waiting[rung], (self._sign * self._rungs[rung][number], number))

    def candidate(self) -> Promoted | None:
        """The best waiting trial of the highest rung that has one among its best 1/reduction_factor."""
        for rung in reversed(self._targets):
            waiting, reached = self._waiting[rung], self._reached[rung]
            if waiting and bisect_left(reached, waiting[0]) < len(reached) // self._reduction_factor:
                return Promoted(waiting[0][1], self._next[rung])
        return None

    def promote(self, number: int) -> None:
        """The trial is continued."""
        for waiting in self._waiting.values():
            waiting[:] = [entry for entry in waiting if entry[1] != number]

    def forget(self, number: int) -> None:
        """The trial failed: nobody is to be measured against it."""
        self.promote(number)
        for rung, values in self._rungs.items():
            if number in values:
                self._reached[rung].remove((self._sign * values.pop(number), number))

    def waiting(self) -> Sequence[int]:
        """Numbers of the trials that wait, those of the highest rung first, the best of each first."""
        return [number for rung in reversed(self._targets) for _, number in self._waiting[rung]]
