"""How long a search by promotion will still take: it is played to its end, by the object that decides in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from hybridtune.search.dashboard.time_left import FEWEST, HIGH, LOW, TimeLeft, hazard, rest_of
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import Rungs

SIMULATIONS = 50
CONSIDERED = 200
"""Of the trials still to come, at most so many are played; beyond, the time grows in proportion."""


@dataclass(frozen=True)
class Search:
    """As far as it has come. Losses are to be small."""

    rungs: Rungs
    iterations: int
    """The full budget."""
    reduction_factor: int
    waiting: Mapping[int, int]
    """Number of each trial that waits -> its rung."""
    running: Mapping[int, int]
    """Number of each trial under way -> iterations that it has reported."""
    lived: np.ndarray
    """(trials,): iterations of every trial so far."""
    over: np.ndarray
    """(trials,): whether it has ended by itself."""
    to_come: int
    seconds_per_iteration: float
    """Of one worker, with all that lies between two iterations."""


def promotion_left(search: Search, improving: float, unlike: float) -> TimeLeft | None:
    """None while fewer than FEWEST trials have been at a rung.

    A trial to come meets the others of a rung at a place drawn by chance, as nothing is known of it. improving: 1 for
    trials that are all alike; below it, the later ones are better: the share that is among the best third is the third
    to the power of it. unlike: as in time_left.
    """
    if sum(map(len, search.rungs.values())) < FEWEST:
        return None
    chance = np.random.default_rng(0)
    considered = min(search.to_come, CONSIDERED)
    dies = hazard(search.lived, search.over, search.iterations)
    played = [_Played(search, considered, dies, improving, chance).iterations_left() for _ in range(SIMULATIONS)]
    scale = search.seconds_per_iteration * (search.to_come / considered if considered else 1.0)
    seconds = np.array(played) * scale * np.exp(chance.normal(0.0, unlike, SIMULATIONS))
    low, middle, high = np.quantile(seconds, (LOW, 0.5, HIGH))
    return TimeLeft(seconds=middle, low=low, high=high)


class _Played:
    """One course that the rest of a search may take; time passes in iterations of one worker."""

    def __init__(
        self, search: Search, to_come: int, dies: np.ndarray, improving: float, chance: np.random.Generator
    ) -> None:
        self._promotion = Promotion(
            {rung: dict(values) for rung, values in search.rungs.items()},
            search.iterations,
            search.reduction_factor,
            maximize=False,
            waiting=search.waiting,
        )
        self._values = {rung: sorted(values.values()) for rung, values in search.rungs.items()}
        self._reached = {**search.waiting, **search.running}
        self._iterations = search.iterations
        self._dies = dies
        self._improving = improving
        self._chance = chance
        self._next_number = max([*self._reached, *(n for values in search.rungs.values() for n in values)], default=0)
        self._to_come = to_come
        self._free = max(1, len(search.running)) - len(search.running)
        self._ends = [(self._train(number), number) for number in search.running]
        heapify(self._ends)

    def iterations_left(self) -> float:
        now = 0
        while True:
            while self._free and self._hand_out(now):
                self._free -= 1
            if not self._ends:
                return float(now)
            now, number = heappop(self._ends)
            if self._goes_on(number):
                heappush(self._ends, (now + self._train(number), number))
            else:
                self._free += 1

    def _hand_out(self, now: int) -> bool:
        number = self._promotion.next()
        if number is None:
            if self._to_come == 0:
                return False
            self._to_come -= 1
            self._next_number += 1
            number = self._next_number
            self._reached[number] = 0
        heappush(self._ends, (now + self._train(number), number))
        return True

    def _train(self, number: int) -> int:
        """Iterations until the trial is at its next rung, or ends by itself."""
        reached = self._reached[number]
        lives = reached + int(rest_of(self._dies, np.array([reached]), self._chance)[0])
        self._reached[number] = max(reached, min(self._promotion.target(number), lives))
        return self._reached[number] - reached

    def _goes_on(self, number: int) -> bool:
        iteration = self._reached[number]
        at_target = iteration == self._promotion.target(number)
        if not at_target or iteration == self._iterations:
            self._promotion.leave(number)
            return False
        return self._promotion.passes(number, iteration, self._met(iteration))

    def _met(self, rung: int) -> float:
        """A value by which a trial meets the others of the rung at a place by chance."""
        values = self._values[rung]
        place = int(self._chance.random() ** (1 / self._improving) * (len(values) + 1))
        edges = [values[0] - 1, *values, values[-1] + 1] if values else [-1.0, 1.0]
        value = (edges[place] + edges[place + 1]) / 2
        values.insert(place, value)
        return value
