"""From which iteration on a replay may differ."""

import pytest

from hybridtune.search.replay.trial import first_fall


@pytest.mark.parametrize(
    ("micro_batches", "begun", "fell_in"),
    [
        ([64, 64, 64], 64, None),
        ([64, 16, 16], 64, 2),
        ([32, 16], 64, 1),
        ([64, 64, 8], 64, 3),
        ([7, 7], 7, None),  # as the run was told
    ],
)
def test_the_iteration_in_which_memory_ran_out_is_found(
    micro_batches: list[int], begun: int, fell_in: int | None
) -> None:
    assert first_fall(micro_batches, begun) == fell_in
