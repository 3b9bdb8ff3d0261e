"""Whether one driver can keep all workers busy."""

import math
from statistics import median

HAND_OUT_SECONDS = 0.1
"""That the driver takes to end one training and hand out the next; see docs/measured.md, search_overhead."""
ENOUGH = 10
"""Trainings that a judgement rests on."""


class Pace:
    """Of the trainings of a search, each of which ends at a rung or at the trial's end."""

    def __init__(self) -> None:
        self._under_way: dict[int, float] = {}
        self._took: list[float] = []
        self._told = False

    def progressed(self, number: int, seconds: float) -> None:
        """The trial has trained for one iteration."""
        self._under_way[number] = self._under_way.get(number, 0.0) + seconds

    def ended(self, number: int, workers: int, grace_period: int) -> str | None:
        """What is to be said about it, once in a search: that trainings are too short for so many workers."""
        seconds = self._under_way.pop(number, None)
        if seconds is not None and not self._told:
            self._took.append(seconds)
        if len(self._took) < ENOUGH or self._told:
            return None
        wanted, typical = workers * HAND_OUT_SECONDS, median(self._took)
        if typical >= wanted:
            return None
        self._told = True
        longer = math.ceil(grace_period * wanted / max(typical, 0.001))
        return (
            f"{workers} workers wait for the driver: it hands out a training every {HAND_OUT_SECONDS:g} s, and theirs "
            f"take {typical:.1f} s each; a search with --grace-period {longer} or more keeps them busy"
        )
