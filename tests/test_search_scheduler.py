"""ASHA's rules as tables, and what the adapter keeps of them."""

from collections import Counter
from collections.abc import Callable

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hybridtune.models.training.progress import Progress
from hybridtune.search.run.trial_report import Failed, Progressed
from hybridtune.search.study.rungs import SuccessiveHalving, bracket_of, decided_rungs, rung_iterations, survives
from hybridtune.search.tuning.scheduler import Asha
from hybridtune.search.workers.trainable import TrialTask

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


@pytest.mark.parametrize(
    ("grace", "reduction", "iterations", "rungs"),
    [
        (4, 3, 100, (4, 12, 36)),
        (1, 2, 8, (1, 2, 4)),
        (1, 3, 3, (1,)),
        (1, 4, 64, (1, 4, 16)),
        (1, 4, 65, (1, 4, 16, 64)),
        (4, 3, 4, ()),
        (5, 3, 4, ()),
        (1, 2, 1, ()),
    ],
)
def test_rungs_grow_geometrically_below_the_full_budget(
    grace: int, reduction: int, iterations: int, rungs: tuple[int, ...]
) -> None:
    assert rung_iterations(grace, reduction, iterations) == rungs


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(
    ("value", "others", "reduction", "survivor"),
    [
        (9.0, [], 3, True),  # the first to arrive
        (2.0, [1.0], 3, False),
        (1.0, [2.0], 3, True),
        (1.0, [1.0, 1.0, 1.0], 4, True),  # a tie with the best
        (2.0, [1.0, 3.0, 4.0], 4, False),  # one in four is kept
        (2.0, [1.0, 3.0, 4.0], 2, True),  # two in four
        (3.0, [1.0, 2.0, 4.0], 2, False),
        (2.0, [1.0, 2.0, 4.0], 2, True),  # a tie for the last place kept
        (2.0, [1.0, 3.0, 4.0, 5.0, 6.0], 3, True),  # two in six
        (3.0, [1.0, 2.0, 4.0, 5.0, 6.0], 3, False),
        (3.0, [1.0, 2.0, 4.0, 5.0], 3, False),  # five are not six: one is kept
        (2.0, [1.0, 3.0, 4.0, 5.0], 3, False),
    ],
)
def test_the_best_share_of_a_rung_survives(
    value: float, others: list[float], reduction: int, survivor: bool, maximize: bool
) -> None:
    sign = -1 if maximize else 1
    assert survives(sign * value, sorted(sign * other for other in others), reduction, maximize) is survivor


def frozen(number: int, state: TrialState, values: dict[int, float]) -> FrozenTrial:
    finished = 1.0 if state == TrialState.COMPLETE else None
    trial = optuna.trial.create_trial(state=state, value=finished, intermediate_values=values)
    trial.number = number
    return trial


def test_a_resume_knows_the_rungs_that_were_decided() -> None:
    trials = [
        frozen(0, TrialState.COMPLETE, {1: 0.9, 2: 0.8, 3: 0.7}),
        frozen(1, TrialState.PRUNED, {1: 0.95}),
        frozen(2, TrialState.PRUNED, {1: 0.85, 2: 0.84, 3: 0.83}),
        frozen(3, TrialState.FAIL, {1: 0.5, 2: 0.4}),
    ]
    assert decided_rungs(trials, (1, 3)) == {1: {0: 0.9, 1: 0.95, 2: 0.85}, 3: {0: 0.7, 2: 0.83}}


@pytest.mark.parametrize(
    ("reported", "decided"),
    [
        ({}, {1: {}, 3: {}}),
        ({1: 0.9}, {1: {}, 3: {}}),  # its death may have come before the decision
        ({1: 0.9, 2: 0.8}, {1: {7: 0.9}, 3: {}}),
        ({1: 0.9, 2: 0.8, 3: 0.7}, {1: {7: 0.9}, 3: {}}),
        ({1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}, {1: {7: 0.9}, 3: {7: 0.7}}),
    ],
)
def test_a_running_trials_last_report_is_decided_again(
    reported: dict[int, float], decided: dict[int, dict[int, float]]
) -> None:
    assert decided_rungs([frozen(7, TrialState.RUNNING, reported)], (1, 3)) == decided


class Reports:
    """Sends an Asha the reports of real Tune trials."""

    def __init__(
        self,
        rungs: tuple[int, ...],
        reduction: int = 2,
        maximize: bool = False,
        bracket: Callable[[int], int] = lambda number: 0,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.halving = SuccessiveHalving({rung: {} for rung in rungs}, reduction, maximize, bracket)
        self.asha = Asha(self.halving, is_over)

    def send(
        self, number: int, iteration: int, objective: float, finished: bool = False, failure: str | None = None
    ) -> str:
        trial = Trial("test", config=TrialTask(number, {}, 0, None, 1).to_tune(), stub=True)
        progress = Progress(iteration, iteration * 512, 0.7, objective, 0.5, objective, seconds=1.0, micro_batch=64)
        report = Progressed(progress, finished, "cpu") if failure is None else Failed(iteration, failure, "cpu")
        return self.asha.on_trial_result(None, trial, report.to_tune())  # type: ignore[arg-type]


def test_a_trial_below_the_best_of_its_rung_is_stopped_there_and_nowhere_else() -> None:
    reports = Reports(rungs=(2,))
    assert reports.send(0, 2, 0.5) == CONTINUE
    assert reports.send(1, 1, 9.0) == CONTINUE
    assert reports.send(1, 2, 0.6) == STOP
    assert reports.send(2, 2, 0.4) == CONTINUE
    assert reports.send(2, 3, 9.0) == CONTINUE
    assert reports.halving.rungs == {2: {0: 0.5, 1: 0.6, 2: 0.4}}


def test_the_direction_of_the_metric_decides_who_is_stopped() -> None:
    reports = Reports(rungs=(1,), maximize=True)
    assert reports.send(0, 1, 0.5) == CONTINUE
    assert reports.send(1, 1, 0.4) == STOP
    assert reports.send(2, 1, 0.6) == CONTINUE


def test_a_rung_keeps_the_value_with_which_it_was_first_crossed() -> None:
    reports = Reports(rungs=(1,))
    assert reports.send(0, 1, 0.5) == CONTINUE
    assert reports.send(1, 1, 0.1) == CONTINUE
    # A retried trial reports the rung again: by now it would be stopped, but it was let through before.
    assert reports.send(0, 1, 0.9) == CONTINUE
    assert reports.halving.rungs == {1: {0: 0.5, 1: 0.1}}


def test_a_trial_passes_by_the_lowest_rungs_of_its_bracket_and_meets_its_own_kind_only() -> None:
    reports = Reports(rungs=(1, 2), bracket=lambda number: number % 2)
    assert reports.send(0, 1, 0.1) == CONTINUE
    assert reports.send(1, 1, 0.9) == CONTINUE  # far worse, but its bracket begins at iteration 2
    assert reports.send(0, 2, 0.1) == CONTINUE
    assert reports.send(1, 2, 0.9) == CONTINUE  # the first of its bracket there
    assert reports.send(3, 2, 1.0) == STOP
    assert reports.send(2, 1, 0.2) == STOP
    assert reports.halving.rungs == {1: {0: 0.1, 2: 0.2}, 2: {0: 0.1, 1: 0.9, 3: 1.0}}


def test_hyperband_begins_in_each_bracket_its_share_of_trials() -> None:
    """With two rungs and a reduction of three: 9 trials from the lowest rung, 5 from the next, 3 that are never stopped
    (Li et al. 2018, table 1 in small).
    """
    drawn = Counter(bracket_of(number, seed=7, rungs=2, reduction_factor=3) for number in range(3000))
    shares = [drawn[bracket] / 3000 for bracket in range(3)]
    assert shares == pytest.approx([9 / 17, 5 / 17, 3 / 17], abs=0.03)
    assert bracket_of(5, seed=7, rungs=0, reduction_factor=3) == 0
    one, other = ([bracket_of(n, seed, 3, 2) for n in range(40)] for seed in (1, 2))
    assert one == [bracket_of(n, 1, 3, 2) for n in range(40)]
    assert one != other


def test_when_the_search_is_over_every_trial_stops_at_its_next_report_unless_it_is_finished() -> None:
    over = False
    reports = Reports(rungs=(1,), is_over=lambda: over)
    assert reports.send(0, 1, 0.5) == CONTINUE
    over = True
    assert reports.send(0, 2, 0.4) == STOP
    assert reports.send(1, 2, 0.4, finished=True) == CONTINUE


def test_a_trial_that_skips_a_rung_is_not_recorded_there() -> None:
    reports = Reports(rungs=(1, 3))
    assert reports.send(0, 2, 0.5) == CONTINUE
    assert reports.send(0, 3, 0.4) == CONTINUE
    assert reports.halving.rungs == {1: {}, 3: {0: 0.4}}
    # A fresh trial is first at the rung that the other skipped.
    assert reports.send(1, 1, 0.9) == CONTINUE


def test_a_failure_stops_and_leaves_no_trace_in_the_rungs() -> None:
    reports = Reports(rungs=(1,))
    assert reports.send(0, 1, 0.0, failure="loss nan in iteration 1") == STOP
    assert reports.halving.rungs == {1: {}}
    assert reports.send(1, 1, 0.9) == CONTINUE


def test_a_trial_that_fails_later_is_nobodys_measure() -> None:
    reports = Reports(rungs=(1, 2))
    assert reports.send(0, 1, 0.1) == CONTINUE
    assert reports.send(1, 1, 0.9) == STOP
    reports.halving.forget(0)
    assert reports.halving.rungs == {1: {1: 0.9}, 2: {}}
    assert reports.send(2, 1, 0.5) == CONTINUE
    assert [number for number in range(3) if reports.halving.stopped(number)] == [1]


def test_a_finished_trial_is_never_stopped() -> None:
    reports = Reports(rungs=(1, 2))
    assert reports.send(0, 2, 0.1) == CONTINUE
    assert reports.send(1, 2, 0.9, finished=True) == CONTINUE
    assert reports.halving.rungs[2] == {0: 0.1, 1: 0.9}
