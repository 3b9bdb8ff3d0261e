"""How long a search will still take."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.search.dashboard.estimate import Estimate, search_time_left
from hybridtune.search.dashboard.time_left import FEWEST, Halving, Spent, TimeLeft, time_left
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.hybrid import HYBRID


def test_too_few_trainings_say_nothing() -> None:
    assert time_left([Spent(10, 20.0)] * (FEWEST - 1), [Spent(3, 6.0)], 20, 2, 10) is None
    assert time_left([Spent(10, 20.0)] * FEWEST, [], 20, 2, 10) is not None


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_trainings_that_are_all_alike_are_laid_end_to_end(at_once: int) -> None:
    found = time_left([Spent(10, 20.0)] * 5, [], 20, at_once, 10)
    assert found is not None
    assert (found.low, found.seconds, found.high) == pytest.approx((400 / at_once,) * 3)


def test_what_a_running_training_has_done_is_not_done_again() -> None:
    found = time_left([Spent(10, 20.0)] * 5, [Spent(4, 8.0), Spent(9, 18.0)], 0, 2, 10)
    assert found is not None
    assert found.seconds == pytest.approx(12.0)


def test_trainings_that_still_run_count_as_longer_than_they_are() -> None:
    """Nine in ten were stopped early; of the rest none has ended, and they are as long as the budget."""
    stopped = [Spent(4, 4.0)] * 18
    running = [Spent(40, 40.0)] * 2
    found = time_left(stopped, running, 100, 2, 100)
    assert found is not None
    truth = (100 * (0.9 * 4 + 0.1 * 100) + 2 * 60) / 2
    assert found.low < truth < found.high
    assert found.seconds == pytest.approx(truth, rel=0.25)


def halving(arrived: int, passed: int, brackets: list[int], expected: float = 0.25) -> Halving:
    return Halving((10,), np.array([arrived]), np.array([passed]), expected, np.array(brackets))


def test_a_rung_ends_as_many_as_it_has_ended_lately_and_not_as_the_first_that_met_nobody_there() -> None:
    """Six in eight of the first went on to the end, which said too much of the 100 to come."""
    ended = [Spent(100, 100.0)] * 6 + [Spent(10, 10.0, at_rung=True)] * 2
    found = time_left(ended, [], 100, 1, 100, halving(1000, 250, [0] * 100))
    assert found is not None
    assert found.seconds == pytest.approx(100 * (0.25 * 100 + 0.75 * 10), rel=0.1)
    without = time_left(ended, [], 100, 1, 100)
    assert without is not None
    assert without.seconds == pytest.approx(100 * (0.75 * 100 + 0.25 * 10), rel=0.1)


def test_what_is_expected_of_a_rung_stands_until_many_have_arrived() -> None:
    ended = [Spent(100, 100.0)] * 20
    found = [time_left(ended, [], 200, 1, 100, halving(n, n, [0] * 200)) for n in (0, 1000)]
    before, after = (one.seconds for one in found if one is not None)
    assert before == pytest.approx(200 * (0.25 * 100 + 0.75 * 10), rel=0.2)
    assert after == pytest.approx(200 * 100, rel=0.05)


def test_a_running_training_that_is_past_its_rung_is_not_ended_there() -> None:
    ended = [Spent(100, 100.0)] * FEWEST
    found = time_left(ended, [Spent(40, 40.0)], 0, 1, 100, halving(1000, 0, [0]))
    assert found is not None
    assert found.seconds == pytest.approx(60.0)


def test_a_bracket_that_passes_by_a_rung_is_not_ended_there() -> None:
    ended = [Spent(100, 100.0)] * FEWEST
    found = time_left(ended, [], 20, 1, 100, halving(1000, 0, [1] * 20))
    assert found is not None
    assert found.seconds == pytest.approx(2000.0)


def test_trainings_that_differ_give_a_wide_interval_to_the_last() -> None:
    """The interval was that of the mean, however few were left to be like one of them."""
    ended = [Spent(10, 10.0)] * 50 + [Spent(10, 100.0)] * 50
    found = time_left(ended, [], 1, 1, 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((10.0, 100.0))


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


def trained(number: int, seconds: float, iterations: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    trial = create_trial(state=state, value=0.5, intermediate_values=dict.fromkeys(range(1, iterations + 1), 0.5))
    trial.number, trial.datetime_start = number, datetime(2026, 1, 1)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    return trial


def settings(**changes: Any) -> Settings:
    return Settings(
        dataset=Path("/nowhere"), dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference, trials=40, **changes
    )


def test_an_estimate_stands_until_a_fiftieth_of_it_has_passed_and_for_five_seconds_or_there_are_more_trials() -> None:
    now = [0.0]
    estimate = Estimate(clock=lambda: now[0])
    study, given = optuna.create_study(), settings(iterations=10, scheduler="none", sampler="random")

    def seconds(at: float, trials: list[FrozenTrial]) -> float | None:
        now[0] = at
        found = estimate(study, trials, given)
        return None if found is None else found.seconds

    some = [trained(number, 100.0, 10) for number in range(20)]
    assert seconds(0.0, some[:2]) is None
    assert seconds(0.5, some[:10]) == pytest.approx(30 * 100.0)
    assert seconds(60.0, some[:12]) == pytest.approx(30 * 100.0)
    assert seconds(61.0, some[:12]) == pytest.approx(28 * 100.0)
    # One made of three trials, of which one had waited for its worker, stood for half of a search of a minute.
    assert seconds(61.5, some[:14]) == pytest.approx(28 * 100.0)
    assert seconds(61.6, some[:15]) == pytest.approx(25 * 100.0)
    nearly_all = [trained(number, 1.0, 10) for number in range(39)]
    assert seconds(101.0, nearly_all) == pytest.approx(1.0)
    assert seconds(105.9, [*nearly_all, trained(39, 1.0, 10)]) == pytest.approx(1.0)
    assert seconds(106.0, [*nearly_all, trained(39, 1.0, 10)]) == 0.0


def test_what_a_sampler_that_learns_will_do_is_less_known_until_it_has_done_some() -> None:
    def width(sampler: str, ended: int) -> float:
        trials = [trained(number, 100.0, 10) for number in range(ended)]
        given = settings(iterations=10, scheduler="none", sampler=sampler)
        found = search_time_left(optuna.create_study(), trials, given)
        assert found is not None
        return found.high / found.low

    assert width("random", 12) == pytest.approx(1.0)
    assert width("tpe", 12) > 3
    assert 1.5 < width("tpe", 39) < width("tpe", 12)


@pytest.mark.parametrize(("sampler", "share"), [("tpe", 4**-0.45), ("random", 0.25)])
def test_what_a_study_says_of_its_rungs(sampler: str, share: float) -> None:
    """The first ten are not counted, as a sampler that learns has not yet; all of them passed."""
    trials = [trained(number, 100.0, 10) for number in range(10 if sampler == "tpe" else 0)]
    for number in range(len(trials), 30):
        passes = len(trials) % 10 < 10 * share
        trials.append(trained(number, *((100.0, 10) if passes else (20.0, 2, TrialState.PRUNED))))
    given = settings(iterations=10, grace_period=2, reduction_factor=4, sampler=sampler)
    found = search_time_left(optuna.create_study(), trials, given)
    assert found is not None
    assert found.seconds == pytest.approx(10 * (share * 100 + (1 - share) * 20), rel=0.2)
