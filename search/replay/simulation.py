"""A search replayed on a curve table. Losses and times are the recorded ones, workers are simulated; who goes on, and
what is tried next, is decided by the objects that decide in a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hybridtune.search.replay.curve_table import CurveTable


class Report(NamedTuple):
    """What a trial says at the end of an iteration."""

    number: int
    iteration: int
    best: float
    """The lowest loss so far, infinite if the trial has just failed."""
    latest: float


class Schedule(Protocol):
    """How far trials train."""

    continues: bool
    """Whether a trial that has stopped may be continued."""

    def report(self, report: Report) -> bool:
        """Whether the trial goes on; if not, it stops for good, or until it is continued."""

    def next(self) -> int | None:
        """A trial that has stopped and is continued by a free worker, before any other is started."""

    def fail(self, number: int) -> None:
        """The trial's loss was not finite."""


class Chooser(Protocol):
    """What is tried next."""

    def choose(self, left: NDArray[np.int64]) -> int:
        """A row of the table among `left`, those that were not tried yet."""

    def tell(self, report: Report) -> None:
        """A trial has ended an iteration."""

    def stop(self, number: int, *, waits: bool) -> None:
        """A trial has stopped before its end. waits: it may be continued."""


class Moment(NamedTuple):
    """After an iteration of any trial."""

    seconds: float
    iterations: int
    """Of all trials together."""
    row: int
    """The configuration with the lowest loss so far, which retraining would be handed. A failed one never is."""


@dataclass
class Replayed:
    moments: list[Moment]
    rows: list[int]
    """Of each trial in order of number."""
    reached: list[int]
    """Iterations of each trial."""
    busy_seconds: float
    """Of all workers together."""
    last_begun: float
    """When the last configuration was begun, in seconds; what comes after it only ends what is under way."""

    @property
    def seconds(self) -> float:
        return self.moments[-1].seconds

    @property
    def changes(self) -> list[Moment]:
        """The first moment, and those at which another configuration became the best."""
        rows = np.array([moment.row for moment in self.moments])
        return [self.moments[place] for place in np.flatnonzero(np.diff(rows, prepend=-1))]


@dataclass
class _Search:
    table: CurveTable
    schedule: Schedule
    chooser: Chooser
    trials: int
    decision_seconds: float
    rows: list[int] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    events: list[tuple[float, int, int]] = field(default_factory=list)
    """(when an iteration ends, how many were before it began, number of the trial)"""
    spent: int = 0
    busy: float = 0.0
    driver_free: float = 0.0
    last_begun: float = 0.0
    losses: list[float] = field(default_factory=list)
    """The lowest of each trial so far; infinite if it has failed."""
    leader: int = 0
    untried_N: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.untried_N = np.ones(len(self.table.params), dtype=bool)

    def hand_out(self, now: float) -> bool:
        """Gives a free worker the next training; False if there is none now."""
        if (continued := self.schedule.next()) is not None:
            self._run(self._decided(now), continued)
            return True
        if len(self.rows) >= self.trials:
            return False
        # Every search begins with the default.
        left = np.flatnonzero(self.untried_N) if self.rows else np.array([self.table.default])
        row = self.chooser.choose(left)
        self.untried_N[row] = False
        self.rows.append(row)
        self.reached.append(0)
        self.losses.append(np.inf)
        self.last_begun = self._decided(now)
        self._run(self.last_begun, len(self.rows) - 1)
        return True

    def end_iteration(self) -> tuple[float, bool]:
        """The next event: when it was, and whether its worker is free after it."""
        now, _, number = heappop(self.events)
        row = self.rows[number]
        self.reached[number] += 1
        self.spent += 1
        iteration = self.reached[number]
        value = float(self.table.tune_NI[row, :iteration].min())
        latest = float(self.table.tune_NI[row, iteration - 1])
        failed = not np.isfinite(latest)
        self.losses[number] = np.inf if failed else value
        if self.losses[number] < self.losses[self.leader]:
            self.leader = number
        elif failed and number == self.leader:
            self.leader = int(np.argmin(self.losses))
        self.moments.append(Moment(now, self.spent, self.rows[self.leader]))
        report = Report(number, iteration, self.losses[number], latest)
        self.chooser.tell(report)
        if failed:
            self.schedule.fail(number)
            return now, True
        goes_on = self.schedule.report(report)
        if iteration == self.table.iterations:
            return now, True
        if goes_on:
            self._run(now, number)
        else:
            self.chooser.stop(number, waits=self.schedule.continues)
        return now, not goes_on

    def _decided(self, now: float) -> float:
        """When a decision that is asked for now is there: the driver makes one after another."""
        self.driver_free = max(now, self.driver_free) + self.decision_seconds
        return self.driver_free

    def _run(self, now: float, number: int) -> None:
        """One iteration."""
        seconds = float(self.table.seconds_NI[self.rows[number], self.reached[number]])
        self.busy += seconds
        heappush(self.events, (now + seconds, self.spent, number))


def simulate(
    table: CurveTable,
    schedule: Schedule,
    chooser: Chooser,
    trials: int,
    workers: int,
    decision_seconds: float = 0.0,
) -> Replayed:
    """Trial 0 is the default. The search ends when all trials are started and nobody is continued any more."""
    search = _Search(table, schedule, chooser, min(trials, len(table.params)), decision_seconds)
    idle, now = workers, 0.0
    while True:
        while idle and search.hand_out(now):
            idle -= 1
        if not search.events:
            return Replayed(search.moments, search.rows, search.reached, search.busy, search.last_begun)
        now, free = search.end_iteration()
        idle += free


def regret(table: CurveTable, rows: Sequence[int]) -> NDArray[np.float64]:
    """By how much each of these configurations is worse than the best of the table, in the table's loss."""
    worse_N: NDArray[np.float64] = table.final_N[list(rows)] - table.final_N.min()
    return worse_N
