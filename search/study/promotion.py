"""ASHA by promotion (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2): a trial
waits at every rung, and a free worker continues the best that wait before it starts another.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Set
from heapq import merge
from itertools import islice

from hybridtune.search.study.rungs import Rungs

DEFAULT = 0
"""Number of the trial that is trained to its end at once: all that is said of a search is said against it."""


class Promotion:
    """Who is continued from which rung. A rung keeps the value with which a trial first reached it, whatever became of
    the trial: one that is promoted still counts among those that its peers are measured against.
    """

    def __init__(
        self,
        rungs: Rungs,
        iterations: int,
        reduction_factor: int,
        maximize: bool,
        waiting: Mapping[int, int] | None = None,
    ) -> None:
        """rungs: with what is known already. iterations: the full budget. waiting: number of each trial that waits ->
        its rung, which is known.
        """
        self._rungs = rungs
        self._order = sorted(rungs)
        self._iterations = iterations
        self._next = dict(zip([0, *self._order], [*self._order, iterations], strict=True))
        self._reduction_factor = reduction_factor
        self._sign = -1 if maximize else 1
        self._target: dict[int, int] = {}
        self._reached: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        self._waiting: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        """Of each rung (value, number), the best first."""
        self._waits_at: dict[int, int] = {}
        for rung in self._order:
            for number, value in rungs[rung].items():
                insort(self._reached[rung], (self._sign * value, number))
                self._target[number] = self._next[rung]
        for number, rung in (waiting or {}).items():
            self._wait(number, rung)

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        return self._rungs

    def target(self, number: int) -> int:
        """The iteration at which the trial stops next: a rung, or the full budget."""
        return self._iterations if number == DEFAULT else self._target.get(number, self._next[0])

    def passes(self, number: int, iteration: int, value: float) -> bool:
        """Whether the trial goes on after this iteration. At a rung its value is recorded; where it stops, it waits,
        unless it is the one that is to be continued next.
        """
        if iteration in self._rungs and number not in self._rungs[iteration]:
            self._rungs[iteration][number] = value
            insort(self._reached[iteration], (self._sign * value, number))
        if iteration != self.target(number) or iteration == self._iterations:
            return True
        self._wait(number, iteration)
        if self._candidate() != number:
            return False
        self._continue(number)
        return True

    def waits_at(self, number: int) -> int | None:
        return self._waits_at.get(number)

    def stopped(self, number: int) -> bool:  # noqa: ARG002 the one signature
        """Nobody is stopped for good."""
        return False

    def next(self) -> int | None:
        """The waiting trial that is continued from now on: the best of the highest rung that has one among its best
        1/reduction_factor. None if there is none.
        """
        number = self._candidate()
        if number is not None:
            self._continue(number)
        return number

    def leave(self, number: int) -> None:
        """The trial has ended by itself. It keeps its places in the rungs."""
        self._stop_waiting(number)

    def forget(self, number: int) -> None:
        """The trial failed: nobody is to be measured against it."""
        self._stop_waiting(number)
        for rung, values in self._rungs.items():
            if number in values:
                self._reached[rung].remove((self._sign * values.pop(number), number))

    def unlikely(self, likely: int) -> Set[int]:
        """Numbers of the trials that wait and that are the least likely to be continued, all but the `likely` most
        likely ones: those for which the most others would have to reach their rung before.
        """
        most_likely = islice(merge(*map(self._missing, self._order)), likely)
        return self._waits_at.keys() - {number for _, number in most_likely}

    def _missing(self, rung: int) -> Iterator[tuple[int, int]]:
        """How many others would have to reach the rung before a trial that waits there is continued, and its number;
        the fewest first.
        """
        reached = self._reached[rung]
        for value, number in self._waiting[rung]:
            yield (bisect_left(reached, (value, number)) + 1) * self._reduction_factor - len(reached), number

    def _candidate(self) -> int | None:
        for rung in reversed(self._order):
            waiting, reached = self._waiting[rung], self._reached[rung]
            if waiting and bisect_left(reached, waiting[0]) < len(reached) // self._reduction_factor:
                return waiting[0][1]
        return None

    def _wait(self, number: int, rung: int) -> None:
        self._waits_at[number] = rung
        insort(self._waiting[rung], (self._sign * self._rungs[rung][number], number))

    def _continue(self, number: int) -> None:
        self._target[number] = self._next[self._waits_at[number]]
        self._stop_waiting(number)

    def _stop_waiting(self, number: int) -> None:
        rung = self._waits_at.pop(number, None)
        if rung is not None:
            self._waiting[rung].remove((self._sign * self._rungs[rung][number], number))
