"""Promotion: who waits, who goes on, in which order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.search.study.promotion import Promoted, Promotion


def promotion(*rungs: int, iterations: int = 27, maximize: bool = False) -> Promotion:
    return Promotion({rung: {} for rung in rungs}, iterations, 3, maximize)


def waits(at: Promotion, rung: int, values: dict[int, float]) -> None:
    for number, value in values.items():
        at.reach(number, rung, value)
        at.wait(number, rung)


def test_one_in_three_that_ever_reached_a_rung_goes_on_the_best_first() -> None:
    rule = promotion(1, 3, 9)
    waits(rule, 1, {0: 0.5, 1: 0.4})
    assert rule.candidate() is None
    waits(rule, 1, {2: 0.6})
    assert rule.candidate() == Promoted(1, 3)
    rule.promote(1)
    assert rule.candidate() is None
    # The promoted one still counts: with six there are two places, of which it has one.
    waits(rule, 1, {3: 0.55, 4: 0.7})
    assert rule.candidate() is None
    waits(rule, 1, {5: 0.45})
    assert rule.candidate() == Promoted(5, 3)


def test_the_highest_rung_goes_first_and_the_last_one_leads_to_the_full_budget() -> None:
    rule = promotion(1, 3, iterations=10)
    waits(rule, 1, {number: 0.5 + number / 100 for number in range(9)})
    waits(rule, 3, {20: 0.3, 21: 0.2, 22: 0.4})
    assert rule.candidate() == Promoted(21, 10)
    rule.promote(21)
    assert rule.candidate() == Promoted(0, 3)
    assert rule.waiting() == [20, 22, *range(9)]


def test_where_more_is_better_the_highest_goes_on() -> None:
    rule = promotion(1, maximize=True)
    waits(rule, 1, {0: 0.5, 1: 0.7, 2: 0.6})
    assert rule.candidate() == Promoted(1, 27)


def test_equal_values_go_on_in_order_of_number() -> None:
    rule = promotion(1)
    waits(rule, 1, {2: 0.5, 0: 0.5, 1: 0.5})
    assert rule.candidate() == Promoted(0, 27)


def test_a_failed_trial_is_measured_against_by_nobody() -> None:
    rule = promotion(1)
    waits(rule, 1, {0: 0.1, 1: 0.5, 2: 0.6, 3: 0.7})
    rule.forget(0)
    assert rule.candidate() == Promoted(1, 27)
    assert rule.rungs[1].keys() == {1, 2, 3}


def test_one_that_trains_on_without_waiting_takes_a_place_and_is_never_promoted() -> None:
    rule = promotion(1)
    rule.reach(0, 1, 0.1)
    waits(rule, 1, {1: 0.5, 2: 0.6})
    assert rule.candidate() is None


def test_the_value_of_the_first_report_counts() -> None:
    rule = promotion(1)
    rule.reach(0, 1, 0.5)
    rule.reach(0, 1, 0.1)
    assert rule.rungs[1][0] == 0.5


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=60), st.integers(0, 1000))
def test_whatever_the_order_it_does_what_the_paper_writes(values: list[float], seed: int) -> None:
    """Against the pseudo-code of algorithm 2, in which all of it is computed anew at each decision."""
    rule, rng = promotion(1, 3, 9), random.Random(seed)
    reached: dict[int, dict[int, float]] = {1: {}, 3: {}, 9: {}}
    promoted: dict[int, set[int]] = {1: set(), 3: set(), 9: set()}
    left = dict(enumerate(values))
    while True:
        expected = None
        for rung, to in ((9, 27), (3, 9), (1, 3)):
            best = sorted(reached[rung], key=lambda number: (reached[rung][number], number))
            open_ones = [n for n in best[: len(best) // 3] if n not in promoted[rung]]
            if open_ones:
                expected = Promoted(open_ones[0], to)
                promoted[rung].add(open_ones[0])
                break
        assert rule.candidate() == expected
        if expected is not None:
            rule.promote(expected.number)
            if expected.to in reached:
                value = reached[{3: 1, 9: 3}[expected.to]][expected.number] - rng.choice([0.0, 0.05])
                reached[expected.to][expected.number] = value
                waits(rule, expected.to, {expected.number: value})
        elif left:
            number = rng.choice(sorted(left))
            reached[1][number] = left.pop(number)
            waits(rule, 1, {number: reached[1][number]})
        else:
            return


@pytest.mark.parametrize("rungs", [(4,), (1, 3, 9)])
def test_new_trials_stop_at_the_lowest_rung(rungs: tuple[int, ...]) -> None:
    assert promotion(*rungs).first == rungs[0]
