"""How long a search will still take."""

import numpy as np
import pytest

from hybridtune.search.dashboard.time_left import FEWEST, Spent, TimeLeft, time_left


def test_too_few_trainings_say_nothing() -> None:
    assert time_left([Spent(10, 20.0)] * (FEWEST - 1), [3], 20, 2, 10) is None
    assert time_left([Spent(10, 20.0)] * FEWEST, [], 20, 2, 10) is not None


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_trainings_that_are_all_alike_are_laid_end_to_end(at_once: int) -> None:
    found = time_left([Spent(10, 20.0)] * 5, [], 20, at_once, 10)
    assert found is not None
    assert (found.low, found.seconds, found.high) == pytest.approx((400 / at_once,) * 3)


def test_what_a_running_training_has_done_is_not_done_again() -> None:
    found = time_left([Spent(10, 20.0)] * 5, [4, 9], 0, 2, 10)
    assert found is not None
    assert found.seconds == pytest.approx(12.0)


def test_trainings_that_still_run_count_as_longer_than_they_are() -> None:
    """Nine in ten were stopped early; of the rest none has ended, and they are as long as the budget."""
    stopped = [Spent(4, 4.0)] * 18
    running = [40] * 2
    found = time_left(stopped, running, 100, 2, 100)
    assert found is not None
    truth = (100 * (0.9 * 4 + 0.1 * 100) + 2 * 60) / 2
    assert found.low < truth < found.high
    assert found.seconds == pytest.approx(truth, rel=0.25)


def test_few_trainings_give_a_wide_interval_and_many_a_narrow_one() -> None:
    chance = np.random.default_rng(1)

    def width(count: int) -> float:
        ended = [Spent(int(n), float(n)) for n in chance.integers(1, 50, size=count)]
        found = time_left(ended, [], 200, 4, 50)
        assert found is not None
        return (found.high - found.low) / found.seconds

    assert width(5) > 2 * width(200)


def test_more_trainings_than_are_simulated_take_in_proportion_longer() -> None:
    ended = [Spent(10, 20.0)] * 5
    small, large = time_left(ended, [], 1000, 4, 10), time_left(ended, [], 10_000, 4, 10)
    assert small is not None
    assert large is not None
    assert large.seconds == pytest.approx(10 * small.seconds)


def test_trainings_without_an_iteration_do_not_divide_by_zero() -> None:
    found = time_left([Spent(0, 3.0)] * 5, [], 10, 2, 10)
    assert found is not None
    assert np.isfinite(found.seconds)


def test_a_time_budget_ends_it_earlier() -> None:
    left = TimeLeft(seconds=100.0, low=50.0, high=200.0)
    assert left.at_most(80.0) == TimeLeft(seconds=80.0, low=50.0, high=80.0)
    assert left.at_most(-3.0) == TimeLeft(seconds=0.0, low=0.0, high=0.0)


def test_it_is_said_in_units_that_fit() -> None:
    assert TimeLeft(seconds=50.0, low=30.4, high=100.0).text() == "about 50 s left (30 s to 2 min)"
    assert TimeLeft(seconds=6000.0, low=3600.0, high=9000.0).text() == "about 1.7 h left (60 min to 2.5 h)"


def test_a_training_whose_seconds_are_not_known_counts_by_its_iterations_alone() -> None:
    known = [Spent(10, 20.0)] * FEWEST
    found = time_left([*known, Spent(10, None)], [], 10, 1, 10)
    assert found is not None
    assert found.seconds == pytest.approx(200.0)
    assert time_left([*known[1:], Spent(10, None)], [], 10, 1, 10) is None
