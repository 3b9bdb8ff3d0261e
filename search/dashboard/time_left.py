"""How long trainings that are still to come will take, judged by those that were."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

SIMULATIONS = 100
LOW, HIGH = 0.1, 0.9
FEWEST = 3
"""Trainings that have to have ended before anything is said."""
EXPECTED_AS = 5.0
"""As many trainings at a rung say as much as what was expected of them."""
NEVER = np.iinfo(np.int64).max
CONSIDERED = 1000
"""Of those still to come, at most so many are simulated; beyond, the time grows in proportion."""


class Spent(NamedTuple):
    """What one training has taken. seconds: None where part of them was not training."""

    iterations: int
    seconds: float | None
    at_rung: bool = False
    """Whether it ended because it did not pass a rung."""


@dataclass(frozen=True)
class Halving:
    """What successive halving will do to the trainings that are running or to come."""

    rungs: tuple[int, ...]
    arrived: np.ndarray
    """(rungs,): of trainings that are as those to come will be, how many have been decided so far."""
    passed: np.ndarray
    """(rungs,): how many of them went on."""
    expected: float
    """The share that goes on, as far as it is known before any has arrived."""
    brackets: np.ndarray
    """(trainings,): how many of the lowest rungs each passes by, of the running ones and then of those to come."""

    def ends(self, lived: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """(n,): the iteration at which each of the n ends, a draw; NEVER for those that pass every rung."""
        goes_on = chance.beta(
            self.passed + EXPECTED_AS * self.expected,
            self.arrived - self.passed + EXPECTED_AS * (1 - self.expected),
        )
        ends = np.full(len(lived), NEVER)
        for place, rung in enumerate(self.rungs):
            here = (self.brackets[: len(lived)] <= place) & (ends == NEVER) & (lived < rung)
            ends[here & (chance.random(len(lived)) >= goes_on[place])] = rung
        return ends


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
    ended: Sequence[Spent],
    running: Sequence[Spent],
    to_come: int,
    at_once: int,
    budget: int,
    halving: Halving | None = None,
    unlike: float = 0.0,
) -> TimeLeft | None:
    """None while fewer than FEWEST trainings, of which the seconds are known, have ended.

    ended: however they did. running: each so far. to_come: trainings that have not begun. at_once: how
    many run side by side. budget: iterations of one that is not stopped. halving: None where there are no rungs.
    unlike: the standard deviation of the logarithm of how many times as long those to come may take, together, as those
    that have been: a sampler that learns goes where trainings may be larger and live longer.

    How many iterations a training lives, as far as no rung ends it, is drawn from the Kaplan-Meier estimate over all of
    them, as the running ones will live for longer than they have. What it costs is drawn from all of them too: the slow
    ones are among those that have not ended yet. The trainings are then laid end to end on the workers. Each simulation
    resamples the trainings (a bootstrap), so that few of them give a wide interval.
    """
    if sum(one.seconds is not None for one in ended) < FEWEST:
        return None
    chance = np.random.default_rng(0)
    lived = np.minimum([one.iterations for one in (*ended, *running)], budget)
    paced = np.array([(one.iterations, one.seconds) for one in (*ended, *running) if one.seconds is not None])
    over = np.array([*(halving is None or not one.at_rung for one in ended), *(False for _ in running)], dtype=bool)
    considered = min(to_come, CONSIDERED)
    so_far = np.concatenate([lived[len(ended) :], np.zeros(considered, dtype=int)])
    begins = np.arange(len(so_far)) >= len(running)
    takes = np.empty((SIMULATIONS, len(so_far)))
    for row in takes:
        drawn = chance.integers(len(lived), size=len(lived))
        rest = rest_of(hazard(lived[drawn], over[drawn], budget), so_far, chance)
        if halving is not None:
            rest = np.minimum(rest, halving.ends(so_far, chance) - so_far)
        row[:] = _costs(paced, chance, rest, begins) * np.where(begins, np.exp(chance.normal(0.0, unlike)), 1.0)
    free_at = _laid(takes, len(running), max(at_once, len(running), 1))
    low, middle, high = np.quantile(free_at * (to_come / considered if considered else 1.0), (LOW, 0.5, HIGH))
    return TimeLeft(seconds=middle, low=low, high=high)


def _costs(trainings: np.ndarray, chance: np.random.Generator, rest: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """(n,): seconds of trainings that go on for `rest` iterations, those of which `begins` have to start first.
    trainings: (trainings, 2), iterations and seconds of others.

    From a resample of them: a line through their seconds by their iterations, which parts the start from the rest,
    and for each the deviation of one of them from it. In sum the line and the deviations give what all of them took.
    """
    iterations, seconds = trainings[chance.integers(len(trainings), size=len(trainings))].T
    away = iterations - iterations.mean()
    most = seconds.mean() / max(iterations.mean(), 1e-9)
    slope = (away * seconds).mean() / (away**2).mean() if away.any() else most
    slope = min(max(slope, 0.0), most)
    start = seconds.mean() - slope * iterations.mean()
    line = start + slope * iterations
    if not line.any():
        return np.zeros(len(rest))
    some = line > 0
    deviation = chance.choice(seconds[some] / line[some], size=len(rest), p=line[some] / line.sum())
    costs: np.ndarray = (start * begins + slope * rest) * deviation
    return costs


def _laid(takes: np.ndarray, running: int, at_once: int) -> np.ndarray:
    """(simulations,): when the last of `at_once` workers is done. takes: (simulations, trainings), running first."""
    free_at = np.zeros((len(takes), at_once))
    free_at[:, :running] = takes[:, :running]
    rows = np.arange(len(takes))
    for one in takes[:, running:].T:
        free_at[rows, free_at.argmin(axis=1)] += one
    latest: np.ndarray = free_at.max(axis=1)
    return latest


def hazard(lived: np.ndarray, over: np.ndarray, budget: int) -> np.ndarray:
    """(budget + 1,): the share of the trainings alive after so many iterations that ended there; 1 at the budget."""
    ends = np.bincount(lived[over], minlength=budget + 1)
    there = np.bincount(lived, minlength=budget + 1)[::-1].cumsum()[::-1]
    dies: np.ndarray = np.divide(ends, there, out=np.zeros(budget + 1), where=there > 0)
    dies[budget] = 1.0
    return dies


def rest_of(dies: np.ndarray, lived: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Iterations still to come of trainings that have lived so long: a draw for each."""
    alive = np.concatenate([[1.0], np.cumprod(1 - dies)])
    # How much of those that have come so far get beyond each iteration.
    threshold = chance.random(len(lived)) * alive[lived]
    reached = np.searchsorted(-alive[1:], -threshold)
    rest: np.ndarray = np.maximum(reached - lived, 0)
    return rest


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
