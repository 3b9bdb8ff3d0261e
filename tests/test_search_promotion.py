"""Promotion: who waits, who goes on, in which order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import Rungs


def promotion(*rungs: int, iterations: int = 27, maximize: bool = False) -> Promotion:
    return Promotion({rung: {} for rung in rungs}, iterations, 3, maximize)


def arrive(at: Promotion, rung: int, values: dict[int, float]) -> list[int]:
    """Those that go on at once; the others wait."""
    return [number for number, value in values.items() if at.passes(number, rung, value)]


def test_one_in_three_that_ever_reached_a_rung_goes_on() -> None:
    rule = promotion(1, 3, 9)
    assert arrive(rule, 1, {1: 0.5, 2: 0.4}) == []
    assert rule.next() is None
    assert arrive(rule, 1, {3: 0.6}) == []
    assert (rule.next(), rule.next()) == (2, None)
    assert rule.target(2) == 3
    # It still counts: of six two go on, of which it is one.
    assert arrive(rule, 1, {4: 0.55, 5: 0.7}) == []
    assert rule.next() is None
    # Whoever would be continued next does not even stop.
    assert arrive(rule, 1, {6: 0.45}) == [6]
    assert [rule.waits_at(number) for number in range(1, 7)] == [1, None, 1, 1, 1, None]


def test_the_highest_rung_goes_first_and_the_last_one_leads_to_the_full_budget() -> None:
    known: Rungs = {1: {n: 0.5 + n / 100 for n in range(1, 10)}, 3: {21: 0.2, 20: 0.3, 22: 0.4}}
    waiting = {number: rung for rung, values in known.items() for number in values}
    rule = Promotion(known, 10, 3, False, waiting)
    assert {number: rule.waits_at(number) for number in waiting} == waiting
    assert (rule.next(), rule.target(21)) == (21, 10)
    assert (rule.next(), rule.target(1)) == (1, 3)
    assert rule.waits_at(20) == 3
    assert rule.waits_at(21) is None


def test_the_default_is_trained_to_its_end_and_takes_its_places() -> None:
    rule = promotion(1, 3, iterations=9)
    assert [rule.passes(0, iteration, 0.1) for iteration in range(1, 10)] == [True] * 9
    assert rule.rungs == {1: {0: 0.1}, 3: {0: 0.1}}
    assert arrive(rule, 1, {1: 0.5, 2: 0.6}) == []
    # One in three is promoted, and that is the default.
    assert rule.next() is None


def test_where_more_is_better_the_highest_goes_on() -> None:
    rule = promotion(1, maximize=True)
    assert arrive(rule, 1, {1: 0.5, 2: 0.7, 3: 0.6}) == []
    assert rule.next() == 2


def test_equal_values_go_on_in_order_of_number() -> None:
    rule = promotion(1)
    arrive(rule, 1, {3: 0.5, 1: 0.5, 2: 0.5})
    assert rule.next() == 1


def test_a_failed_trial_is_measured_against_by_nobody() -> None:
    rule = promotion(1)
    arrive(rule, 1, {1: 0.1, 2: 0.5})
    rule.forget(1)
    arrive(rule, 1, {3: 0.6, 4: 0.7})
    assert rule.next() == 2
    assert rule.rungs[1].keys() == {2, 3, 4}


def test_those_for_which_the_most_others_would_have_to_arrive_are_unlikely() -> None:
    known: Rungs = {1: {n: 0.5 + n / 100 for n in range(1, 10)}, 3: {21: 0.2, 20: 0.3, 22: 0.4}}
    rule = Promotion(known, 10, 3, False, {number: rung for rung, values in known.items() for number in values})
    # At rung 1 the best three are to be continued; the fourth needs three more there, as does the second of rung 3.
    in_order = [1, 2, 3, 21, 4, 20, 5, 22, 6, 7, 8, 9]
    for likely in range(len(in_order) + 1):
        assert rule.unlikely(likely) == set(in_order[likely:])
    rule.next()
    assert 21 not in rule.unlikely(0)


def test_one_that_ended_by_itself_is_not_continued_and_keeps_its_place() -> None:
    rule = promotion(1)
    arrive(rule, 1, {1: 0.1, 2: 0.5, 3: 0.6})
    rule.leave(1)
    assert rule.next() is None


def test_the_value_of_the_first_report_counts_and_one_that_repeats_it_waits_again() -> None:
    rule = promotion(1)
    assert arrive(rule, 1, {1: 0.5}) == []
    again = Promotion({1: {1: 0.5}, 3: {}}, 27, 3, False)
    # It was promoted, and its worker was lost before it got any further: it goes on to its next rung.
    assert again.passes(1, 1, 0.1)
    assert again.rungs[1] == {1: 0.5}
    assert again.target(1) == 3


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=60), st.integers(0, 1000))
def test_whatever_the_order_it_does_what_the_paper_writes(values: list[float], seed: int) -> None:
    """Against the pseudo-code of algorithm 2, in which all of it is computed anew at each decision."""
    rule, rng = promotion(1, 3, 9), random.Random(seed)
    reached: dict[int, dict[int, float]] = {1: {}, 3: {}, 9: {}}
    promoted: dict[int, set[int]] = {1: set(), 3: set(), 9: set()}
    left = dict(enumerate(values, start=1))

    def job() -> tuple[int, int, int] | None:
        """Number, its rung, the next one."""
        for rung, to in ((9, 27), (3, 9), (1, 3)):
            best = sorted(reached[rung], key=lambda number: (reached[rung][number], number))
            for number in best[: len(best) // 3]:
                if number not in promoted[rung]:
                    return number, rung, to
        return None

    while True:
        following = job()
        assert rule.next() == (None if following is None else following[0])
        if following is not None:
            number, rung, to = following
            promoted[rung].add(number)
            value = reached[rung][number] - rng.choice([0.0, 0.05])
        elif left:
            number, to = rng.choice(sorted(left)), 1
            value = left.pop(number)
        else:
            return
        while to in reached:
            reached[to][number] = value
            following = job()
            goes_on = following is not None and following[0] == number
            assert rule.passes(number, to, value) == goes_on
            if not goes_on:
                break
            promoted[to].add(number)
            to = 3 * to
