"""When it is said that one driver cannot keep all workers busy."""

import pytest

from hybridtune.search.tuning.pace import ENOUGH, HAND_OUT_SECONDS, Pace


def told(pace: Pace, seconds: float, workers: int, *, trainings: int = ENOUGH, iterations: int = 2) -> list[str]:
    """What is said while so many trainings end one after another."""
    said = []
    for number in range(trainings):
        for _ in range(iterations):
            pace.progressed(number, seconds / iterations)
        said.append(pace.ended(number, workers, grace_period=2))
    return [line for line in said if line is not None]


def test_trainings_that_are_too_short_for_the_workers_are_told_once() -> None:
    pace = Pace()
    (line,) = told(pace, 8.0, 256)
    assert line == (
        "256 workers wait for the driver: it hands out a training every 0.1 s, and theirs take 8.0 s each; "
        "a search with --grace-period 7 or more keeps them busy"
    )
    assert told(pace, 8.0, 256) == []


@pytest.mark.parametrize(("seconds", "workers"), [(25.7, 256), (0.3, 2)])
def test_nothing_is_said_where_the_driver_keeps_up(seconds: float, workers: int) -> None:
    assert seconds >= workers * HAND_OUT_SECONDS
    assert told(Pace(), seconds, workers, trainings=3 * ENOUGH) == []


def test_a_few_trainings_are_no_ground_for_it() -> None:
    assert told(Pace(), 1.0, 64, trainings=ENOUGH - 1) == []


def test_a_trial_that_was_lost_before_its_first_iteration_has_no_training() -> None:
    pace = Pace()
    assert [pace.ended(number, 64, 1) for number in range(2 * ENOUGH)] == [None] * 2 * ENOUGH
