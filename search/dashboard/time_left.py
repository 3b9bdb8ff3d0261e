"""How long trainings that are still to come will take, judged by those that were."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

SIMULATIONS = 100
LOW, HIGH = 0.1, 0.9
FEWEST = 3
"""Trainings that have to have ended before anything is said."""
CONSIDERED = 1000
"""Of those still to come, at most so many are simulated; beyond, the time grows in proportion."""


class Spent(NamedTuple):
    """What one training has taken. seconds: None where part of them was not training."""

    iterations: int
    seconds: float | None


class TimeLeft(BaseModel):
    """Seconds: the median of the simulations, and the interval that holds four in five of them."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    low: float
    high: float

    def text(self) -> str:
        return f"about {_span(self.seconds)} left ({_span(self.low)} to {_span(self.high)})"

    def at_most(self, seconds: float) -> "TimeLeft":
        """What is left where a time budget ends it."""
        cut = {name: min(value, max(0.0, seconds)) for name, value in self.model_dump().items()}
        return TimeLeft(**cut)


def time_left(
    ended: Sequence[Spent], running: Sequence[int], to_come: int, at_once: int, budget: int
) -> TimeLeft | None:
    """None while fewer than FEWEST trainings, of which the seconds are known, have ended.

    ended: however they did. running: iterations of each so far. to_come: trainings that have not begun. at_once: how
    many run side by side. budget: iterations of one that is not stopped. How many iterations a training lives is drawn
    from the Kaplan-Meier estimate over all of them, as the running ones will live for longer than they have; the
    trainings are then laid end to end on the workers. Each simulation resamples the trainings (a bootstrap), so that
    few of them give a wide interval.
    """
    timed = np.array([one.seconds is not None for one in ended], dtype=bool)
    if timed.sum() < FEWEST:
        return None
    chance = np.random.default_rng(0)
    lived = np.minimum([*(one.iterations for one in ended), *running], budget)
    seconds = np.array([one.seconds or 0.0 for one in ended])
    paced = np.flatnonzero(timed)
    over = np.arange(len(lived)) < len(ended)
    considered = min(to_come, CONSIDERED)
    found = []
    for _ in range(SIMULATIONS):
        drawn = chance.integers(len(lived), size=len(lived))
        dies = _hazard(lived[drawn], over[drawn], budget)
        by = chance.choice(paced, size=len(paced))
        pace = seconds[by].sum() / max(1, lived[by].sum())
        free_at = np.zeros(max(at_once, len(running), 1))
        free_at[: len(running)] = pace * _rest(dies, lived[len(ended) :], chance)
        for lifetime in _rest(dies, np.zeros(considered, dtype=int), chance):
            free_at[free_at.argmin()] += pace * lifetime
        found.append(free_at.max() * (to_come / considered if considered else 1.0))
    low, middle, high = np.quantile(found, (LOW, 0.5, HIGH))
    return TimeLeft(seconds=middle, low=low, high=high)


def _hazard(lived: np.ndarray, over: np.ndarray, budget: int) -> np.ndarray:
    """(budget + 1,): the share of the trainings alive after so many iterations that ended there; 1 at the budget."""
    ends = np.bincount(lived[over], minlength=budget + 1)
    there = np.bincount(lived, minlength=budget + 1)[::-1].cumsum()[::-1]
    dies: np.ndarray = np.divide(ends, there, out=np.zeros(budget + 1), where=there > 0)
    dies[budget] = 1.0
    return dies


def _rest(dies: np.ndarray, lived: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Iterations still to come of trainings that have lived so long: a draw for each."""
    alive = np.concatenate([[1.0], np.cumprod(1 - dies)])
    # How much of those that have come so far get beyond each iteration.
    threshold = chance.random(len(lived)) * alive[lived]
    reached = (alive[None, 1:] > threshold[:, None]).sum(axis=1)
    rest: np.ndarray = np.maximum(reached - lived, 0)
    return rest


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
