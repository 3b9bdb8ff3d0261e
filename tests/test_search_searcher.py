"""What Tune is handed and what the study is told, on a real database and without a cluster."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search.run_dir import RunDir
from search.searcher import StudySearcher
from search.study import create_study
from spaces.parameters import Choice, Config, Float, Space

SPACE = Space(
    "small",
    {"kind": Choice(choices=("a", "b")), "rate": Float(low=1e-4, high=1e-3, log=True)},
    {"kind": "b", "rate": 5e-4},
)
DEFAULT: Config = {"kind": "b", "rate": 5e-4}


class Search:
    """A search on a database; a second one on the same folder is the process that resumes it."""

    def __init__(self, path: Path, trials: int = 3, concurrent: int = 2, seed: int = 0) -> None:
        self.study = create_study(RunDir(path), SPACE, "tune_loss")
        self.searcher = StudySearcher(self.study, SPACE, trials, concurrent, seed)

    def suggest(self, name: str) -> dict[str, Any]:
        suggested = self.searcher.suggest(name)
        assert isinstance(suggested, dict)
        return suggested

    def trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials()[number]


def result(iteration: int, objective: float, finished: bool = False, failure: str | None = None) -> dict[str, Any]:
    told = {"iteration": iteration, "objective": objective, "finished": finished, "failure": failure}
    return told | {"runs_on": "cpu in fp32", "micro_batch": 64}


def test_the_first_suggestion_is_the_default_with_nothing_reported(tmp_path: Path) -> None:
    assert Search(tmp_path).suggest("x") == {"number": 0, "flat": DEFAULT, "reported": 0, "micro_batch": None}


def test_a_finished_trial_is_complete_with_its_curve(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_result("x", result(2, 0.6, finished=True))
    search.searcher.on_trial_complete("x", result(2, 0.6, finished=True))
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.6, {1: 0.7, 2: 0.6})


def test_a_stopped_trial_is_pruned_with_the_report_that_stopped_it(tmp_path: Path) -> None:
    """Tune hands a report that the scheduler stops at to `on_trial_complete` alone."""
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_complete("x", result(2, 0.6))
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.PRUNED, 0.6, {1: 0.7, 2: 0.6})


def test_a_trial_stopped_at_its_first_report_says_what_it_ran_on_too(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_complete("x", result(1, 0.6))
    assert search.trial(0).user_attrs["runs_on"] == "cpu in fp32"
    assert search.trial(0).user_attrs["micro_batch"] == 64


@pytest.mark.parametrize(
    ("last", "error", "reason"),
    [
        (result(2, 0.0, failure="loss nan in iteration 2"), False, "loss nan in iteration 2"),
        (None, False, "its worker was lost"),
        (None, True, "its worker was lost"),
        (result(1, 0.7), True, "its worker was lost"),
        (result(2, 0.5, finished=True), True, "its worker was lost"),
    ],
)
def test_what_went_wrong_is_told_as_failed_with_its_reason(
    tmp_path: Path, last: dict[str, Any] | None, error: bool, reason: str
) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_complete("x", last, error=error)
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.FAIL, None, {1: 0.7})
    assert reason in trial.user_attrs["failure"]


def test_a_trial_that_never_reported_is_failed_too(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_complete("x", None, error=True)
    assert search.trial(0).state == TrialState.FAIL


def test_no_more_than_the_limit_run_at_a_time(tmp_path: Path) -> None:
    search = Search(tmp_path, trials=3, concurrent=2)
    assert [search.suggest(name)["number"] for name in "xy"] == [0, 1]
    assert search.searcher.suggest("z") is None
    search.searcher.on_trial_complete("x", result(1, 0.5, finished=True))
    assert search.suggest("z")["number"] == 2


def test_the_search_is_finished_after_the_number_of_trials_wanted(tmp_path: Path) -> None:
    search = Search(tmp_path, trials=2, concurrent=3)
    for name in "xy":
        search.suggest(name)
    assert search.searcher.suggest("z") == Searcher.FINISHED
    search.searcher.on_trial_complete("x", None, error=True)
    assert search.searcher.suggest("z") == Searcher.FINISHED
    assert len(search.study.get_trials()) == 2


def test_unfinished_trials_of_an_earlier_process_come_first_with_what_they_reported(tmp_path: Path) -> None:
    before = Search(tmp_path, trials=4, concurrent=3)
    flats = [before.suggest(name)["flat"] for name in "xyz"]
    for iteration, value in ((1, 0.7), (2, 0.6)):
        before.searcher.on_trial_result("x", result(iteration, value))
    before.searcher.on_trial_complete("y", result(1, 0.9))

    after = Search(tmp_path, trials=4, concurrent=3)
    suggested = [after.suggest(name) for name in "abc"]
    assert [s["number"] for s in suggested] == [0, 2, 3]
    assert [s["reported"] for s in suggested] == [2, 0, 0]
    assert [s["flat"] for s in suggested[:2]] == [flats[0], flats[2]]
    after.searcher.on_trial_complete("c", result(1, 0.9))
    assert after.searcher.suggest("d") == Searcher.FINISHED


def test_a_resumed_trial_keeps_what_was_reported_first_and_is_told_its_end(tmp_path: Path) -> None:
    before = Search(tmp_path)
    before.suggest("x")
    before.searcher.on_trial_result("x", result(1, 0.7))
    after = Search(tmp_path)
    after.suggest("a")
    after.searcher.on_trial_result("a", result(1, 0.7))
    after.searcher.on_trial_result("a", result(2, 0.6, finished=True))
    after.searcher.on_trial_complete("a", result(2, 0.6, finished=True))
    trial = after.trial(0)
    assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, {1: 0.7, 2: 0.6})


def test_retries_are_counted_on_the_trial(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.count_retry("x", "its worker was lost")
    search.searcher.count_retry("x", "RuntimeError: broken")
    assert search.trial(0).user_attrs["retries"] == 2
    search.searcher.on_trial_complete("x", None, error=True)
    assert search.trial(0).user_attrs["failure"] == "RuntimeError: broken"


def test_one_worker_that_is_resumed_at_every_step_asks_the_same_trials(tmp_path: Path) -> None:
    def flats(path: Path, resumed: bool) -> list[Config]:
        path.mkdir()
        search = Search(path, trials=6, concurrent=1, seed=4)
        found = []
        for number in range(6):
            if resumed:
                search = Search(path, trials=6, concurrent=1, seed=4)
            found.append(search.suggest(str(number))["flat"])
            if resumed:  # died with the trial under way
                search = Search(path, trials=6, concurrent=1, seed=4)
                assert search.suggest(str(number))["number"] == number
            search.searcher.on_trial_complete(str(number), result(1, 0.5 + number / 10, finished=True))
        return found

    assert flats(tmp_path / "resumed", True) == flats(tmp_path / "whole", False)


def test_the_studys_direction_is_that_of_the_metric(tmp_path: Path) -> None:
    (tmp_path / "auc").mkdir()
    assert Search(tmp_path).study.direction == optuna.study.StudyDirection.MINIMIZE
    auc = create_study(RunDir(tmp_path / "auc"), SPACE, "tune_auc")
    assert auc.direction == optuna.study.StudyDirection.MAXIMIZE
