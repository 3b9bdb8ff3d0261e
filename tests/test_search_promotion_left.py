"""How long a search by promotion will still take."""

from datetime import datetime
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hybridtune.search.dashboard.estimate import search_time_left
from hybridtune.search.dashboard.promotion_left import Search, promotion_left
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import WAITS_AT, Rungs, rung_iterations
from hybridtune.search.study.stopping import SEARCH_SECONDS
from hybridtune.spaces.hybrid import HYBRID

TRIALS, ITERATIONS, WORKERS = 100, 100, 4


def played(seed: int, share: float) -> tuple[Search, int]:
    """A search after that share of its trials was begun, and how long the rest of it took; in iterations."""
    chance = np.random.default_rng(seed)
    quality = chance.random(TRIALS)
    rungs: Rungs = {rung: {} for rung in rung_iterations(1, 3, ITERATIONS)}
    promotion = Promotion(rungs, ITERATIONS, 3, maximize=False)
    reached: list[int] = []
    events: list[tuple[int, int]] = []
    now, free, seen = 0, WORKERS, None
    while True:
        while free and ((number := promotion.next()) is not None or len(reached) < TRIALS):
            if number is None:
                number = len(reached)
                reached.append(0)
            heappush(events, (now + promotion.target(number) - reached[number], number))
            reached[number] = promotion.target(number)
            free -= 1
        if seen is None and len(reached) >= share * TRIALS:
            seen = now, as_seen(promotion, now, reached, events)
        if not events:
            assert seen is not None
            return seen[1], now - seen[0]
        now, number = heappop(events)
        if promotion.passes(number, reached[number], quality[number] + chance.normal(0, 0.3 / reached[number] ** 0.5)):
            if reached[number] < ITERATIONS:
                heappush(events, (now + promotion.target(number) - reached[number], number))
                reached[number] = promotion.target(number)
                continue
            promotion.leave(number)
        free += 1


def as_seen(promotion: Promotion, now: int, reached: list[int], events: list[tuple[int, int]]) -> Search:
    running = {number: reached[number] - (end - now) for end, number in events}
    waiting = {n: rung for n in range(len(reached)) if (rung := promotion.waits_at(n)) is not None}
    return Search(
        rungs={rung: dict(values) for rung, values in promotion.rungs.items()},
        iterations=ITERATIONS,
        reduction_factor=3,
        waiting=waiting,
        running=running,
        lived=np.array([running.get(number, reached[number]) for number in range(len(reached))]),
        over=np.array([reached[n] == ITERATIONS and n not in running for n in range(len(reached))]),
        to_come=TRIALS - len(reached),
        seconds_per_iteration=1.0,
    )


def test_after_a_quarter_of_a_search_it_is_near_the_truth() -> None:
    near = within = 0
    for seed in range(10):
        search, truth = played(seed, 0.25)
        found = promotion_left(search, improving=1.0, unlike=0.0)
        assert found is not None
        near += abs(found.seconds / truth - 1) <= 0.3
        within += found.low <= truth <= found.high
    assert near >= 7
    assert within >= 6


def test_one_trial_that_is_under_way_takes_what_it_has_left() -> None:
    rungs: Rungs = {1: {0: 0.5, 1: 0.4, 2: 0.6}, 3: {0: 0.5}}
    over = np.array([False, True, False])
    search = Search(rungs, 9, 3, {2: 1}, {0: 4}, np.array([4, 9, 1]), over, 0, seconds_per_iteration=2.0)
    found = promotion_left(search, improving=1.0, unlike=0.0)
    assert found is not None
    assert (found.low, found.seconds, found.high) == pytest.approx((10.0, 10.0, 10.0))


def test_trials_beyond_those_that_are_played_take_in_proportion() -> None:
    search, _ = played(0, 0.25)
    few, many = (
        promotion_left(Search(**{**vars(search), "to_come": to_come}), improving=1.0, unlike=0.0)
        for to_come in (200, 2000)
    )
    assert few is not None
    assert many is not None
    assert many.seconds == pytest.approx(10 * few.seconds)


def study_of(waiting: int) -> optuna.Study:
    study = optuna.create_study()
    for number in range(waiting + 1):
        under_way = create_trial(
            state=TrialState.RUNNING,
            intermediate_values={1: 0.5 + number / 10},
            user_attrs={WAITS_AT: 1} if number else {},
        )
        under_way.datetime_start = datetime(2026, 1, 1)
        study.add_trial(under_way)
    study.set_user_attr(SEARCH_SECONDS, 40.0)
    return study


@pytest.mark.parametrize("budget", [None, 50.0])
def test_a_study_tells_what_its_search_has_left(budget: float | None) -> None:
    settings = Settings(
        dataset=Path("/nowhere"),
        dimensions=dict(HYBRID.dimensions),
        reference=HYBRID.reference,
        trials=4,
        iterations=9,
        grace_period=1,
        scheduler="promotion",
        sampler="random",
        time_budget=budget,
    )
    little = study_of(waiting=0)
    assert search_time_left(little, little.get_trials(), settings) is None
    study = study_of(waiting=3)
    found = search_time_left(study, study.get_trials(), settings)
    assert found is not None
    # 10 s an iteration of the one worker: the default's eight, then the best of the three that wait, to iteration 3.
    assert found.seconds == pytest.approx(100.0 if budget is None else 10.0)
