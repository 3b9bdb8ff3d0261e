"""How many trainings share a GPU. Decisions only."""

from collections.abc import Mapping
from dataclasses import dataclass

from hybridtune.models.hardware import CUDA_CONTEXT_BYTES

GAIN = 1.1
"""Twice as many trainings have to get so much more done together, or twice as many again are not tried."""
NEARLY_BEST = 0.95
"""Of the best rate: for less than that, memory is worth more to a trial than company."""


@dataclass(frozen=True)
class Measured:
    """Of so many trainings side by side on one GPU."""

    rate: float
    """Samples that all of them together train in a second."""
    bytes_each: int
    """The most that one of them held of the GPU's memory; 0 on a CPU."""


def next_count(tried: Mapping[int, Measured], gpu_bytes: int | None, most: int) -> int | None:
    """How many to try next; None if no other number can be better.

    tried: by how many there were, doubled from 1. gpu_bytes: of its memory; None on a CPU. most: for how many there are
    cores.
    """
    if not tried:
        return 1
    last = max(tried)
    count = 2 * last
    if count > most:
        return None
    if last > 1 and tried[last].rate < GAIN * tried[last // 2].rate:
        return None
    each = max(measured.bytes_each for measured in tried.values()) + CUDA_CONTEXT_BYTES
    return None if gpu_bytes is not None and count * each > gpu_bytes else count


def best_count(tried: Mapping[int, Measured]) -> int:
    """The fewest that get nearly as much done as the best."""
    best = max(measured.rate for measured in tried.values())
    return min(count for count, measured in tried.items() if measured.rate >= NEARLY_BEST * best)
