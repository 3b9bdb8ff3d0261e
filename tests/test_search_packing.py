"""How many trainings share a GPU, from what was measured."""

import pytest

from hybridtune.models.hardware import CUDA_CONTEXT_BYTES
from hybridtune.search.cluster.packing import Measured, best_count, next_count

GIB = 2**30


def tried(*rates: float, gib: float = 1.0) -> dict[int, Measured]:
    """Of 1, 2, 4 and so on side by side."""
    return {2**place: Measured(rate, int(gib * GIB)) for place, rate in enumerate(rates)}


@pytest.mark.parametrize(
    ("rates", "gib", "most", "count"),
    [
        ([], 1, 8, 1),
        ([100], 1, 8, 2),
        ([100, 190], 1, 8, 4),
        ([100, 109], 1, 8, None),  # hardly more than one
        ([100, 190, 205], 1, 8, None),
        ([100, 190], 1, 3, None),  # no core for the others
        ([100], 1, 1, None),
        ([100], 11, 8, 2),
        ([100], 12, 8, None),  # two and their contexts do not fit into 24 GiB
        ([100, 190], 5, 8, 4),
        ([100, 190], 6, 8, None),
    ],
)
def test_more_are_tried_while_they_fit_and_it_pays(
    rates: list[float], gib: float, most: int, count: int | None
) -> None:
    assert next_count(tried(*rates, gib=gib), 24 * GIB, most) == count


def test_a_cpu_has_no_memory_of_its_own_to_fill() -> None:
    assert next_count({1: Measured(100, 0)}, None, 8) == 2


def test_the_largest_of_all_that_were_tried_has_to_fit() -> None:
    """The allocator of a lone training may hold more than one of many does."""
    large, small = int(10 * GIB - CUDA_CONTEXT_BYTES), GIB
    assert next_count({1: Measured(100, large), 2: Measured(190, small)}, 40 * GIB, 8) == 4
    assert next_count({1: Measured(100, large + 1), 2: Measured(190, small)}, 40 * GIB, 8) is None


@pytest.mark.parametrize(
    ("rates", "count"),
    [([100], 1), ([100, 190], 2), ([100, 190, 196], 2), ([100, 190, 260], 4), ([100, 104], 1), ([100, 80], 1)],
)
def test_the_fewest_that_get_nearly_the_most_done_are_chosen(rates: list[float], count: int) -> None:
    assert best_count(tried(*rates)) == count
