"""What Tune is handed and what the study is told, on a real database and without a cluster."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from hybridtune.models.training.progress import Progress
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.trial_report import Failed, Progressed
from hybridtune.search.study.promotion import Promotion
from hybridtune.search.study.rungs import SuccessiveHalving, decided_rungs, waits_at
from hybridtune.search.study.study import best_first, create_study, started
from hybridtune.search.tuning.searcher import StudySearcher
from hybridtune.search.workers.tasks import Retry
from hybridtune.spaces.parameters import Choice, Config, Float, Space

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
        # Somebody unbeatable has passed every rung.
        self.halving = SuccessiveHalving({iteration: {-1: 0.0} for iteration in (1, 2)}, 3, maximize=False)
        self.searcher = StudySearcher(self.study, SPACE, trials, lambda: concurrent, seed, self.halving)

    def suggest(self, name: str) -> dict[str, Any]:
        suggested = self.searcher.suggest(name)
        assert isinstance(suggested, dict)
        return suggested

    def stop_at_rung(self, name: str, number: int, iteration: int, objective: float) -> None:
        """As Tune does: the report that the scheduler stops at goes to `on_trial_complete` alone."""
        assert not self.halving.passes(number, iteration, objective)
        self.searcher.on_trial_complete(name, result(iteration, objective))

    def suggest_of(self, number: int, reported: int) -> dict[str, Any]:
        """What a trial that is known is handed out as."""
        params = self.trial(number).params
        known = {"number": number, "params": params, "reported": reported, "micro_batch": 64}
        return known | {"attempt": 0, "alone": False}

    def trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials()[number]


def result(iteration: int, objective: float, finished: bool = False, failure: str | None = None) -> dict[str, Any]:
    if failure is not None:
        return Failed(iteration, failure, "cpu in fp32").to_tune()
    progress = Progress(iteration, iteration * 512, 0.7, objective, 0.5, objective, seconds=1.0, micro_batch=64)
    return Progressed(progress, finished, "cpu in fp32").to_tune()


def test_the_first_suggestion_is_the_default_with_nothing_reported(tmp_path: Path) -> None:
    assert Search(tmp_path).suggest("x") == {
        "number": 0,
        "params": DEFAULT,
        "reported": 0,
        "micro_batch": None,
        "attempt": 1,
        "alone": False,
    }


def test_a_finished_trial_is_complete_with_its_curve(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_result("x", result(2, 0.6, finished=True))
    search.searcher.on_trial_complete("x", result(2, 0.6, finished=True))
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.6, {1: 0.7, 2: 0.6})


def test_the_study_knows_what_all_anchors_say_where_they_were_asked(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    whole = result(2, 0.6, finished=True) | {"objective_on_all": 0.65}
    search.searcher.on_trial_complete("x", whole)
    trial = search.trial(0)
    assert (trial.value, trial.intermediate_values) == (0.65, {1: 0.7, 2: 0.65})


def test_a_stopped_trial_is_pruned_with_the_report_that_stopped_it(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.stop_at_rung("x", 0, 2, 0.6)
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.PRUNED, 0.6, {1: 0.7, 2: 0.6})


def test_a_trial_whose_time_is_over_stays_under_way_and_is_taken_up_again(tmp_path: Path) -> None:
    """It was stopped, but at no rung."""
    search = Search(tmp_path, trials=1)
    first = search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_complete("x", result(90, 0.1))
    trial = search.trial(0)
    assert (trial.state, trial.intermediate_values) == (TrialState.RUNNING, {1: 0.7, 90: 0.1})
    assert search.searcher.suggest("y") == Searcher.FINISHED
    assert Search(tmp_path, trials=1).suggest("a") == first | {"reported": 90, "micro_batch": 64}


def test_a_failed_trial_leaves_its_place_in_the_rungs(tmp_path: Path) -> None:
    search = Search(tmp_path)
    for name in "xy":
        search.suggest(name)
    assert not search.halving.passes(0, 1, 0.5)
    search.searcher.on_trial_complete("x", result(2, 0.0, failure="loss nan in iteration 2"))
    assert search.halving.rungs == {1: {-1: 0.0}, 2: {-1: 0.0}}


def test_a_trial_stopped_at_its_first_report_says_what_it_ran_on_too(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_complete("x", result(1, 0.6))
    assert search.trial(0).user_attrs["runs_on"] == "cpu in fp32"
    assert search.trial(0).user_attrs["micro_batch"] == 64


def test_what_a_resumed_trial_repeats_says_nothing_of_the_memory_that_it_has_now(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.trial(0)
    search.searcher._live["x"].set_user_attr("micro_batch", 128)
    search.searcher.on_trial_result("x", result(1, 0.7))
    assert search.trial(0).user_attrs["micro_batch"] == 128
    search.searcher.on_trial_result("x", result(2, 0.6))
    assert search.trial(0).user_attrs["micro_batch"] == 64


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (result(2, 0.0, failure="loss nan in iteration 2"), "loss nan in iteration 2"),
        (None, "it ended without a report"),
    ],
)
def test_what_went_wrong_is_told_as_failed_with_its_reason(
    tmp_path: Path, last: dict[str, Any] | None, reason: str
) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_complete("x", last)
    trial = search.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.FAIL, None, {1: 0.7})
    assert trial.user_attrs["failure"] == reason


@pytest.mark.parametrize("last", [None, result(1, 0.7), result(2, 0.5, finished=True)])
def test_a_trial_whose_worker_was_lost_for_the_last_time_is_failed(tmp_path: Path, last: dict[str, Any] | None) -> None:
    search = Search(tmp_path)
    search.suggest("x")
    search.searcher.on_trial_complete("x", last, error=True)
    assert search.trial(0).state == TrialState.RUNNING
    search.searcher.fail("x", "its worker was lost")
    assert search.trial(0).state == TrialState.FAIL
    assert search.trial(0).user_attrs["failure"] == "its worker was lost"


def test_a_trial_whose_worker_was_lost_is_the_next_to_be_handed_out(tmp_path: Path) -> None:
    search = Search(tmp_path, concurrent=2)
    first = search.suggest("x")
    search.suggest("y")
    search.searcher.on_trial_result("x", result(1, 0.7))
    search.searcher.on_trial_complete("x", result(1, 0.7), error=True)
    search.searcher.again("x", Retry(16, "lost"))
    assert search.suggest("z") == first | {"reported": 1, "micro_batch": 16, "attempt": 3}
    assert search.trial(0).user_attrs["retries"] == 1
    search.searcher.on_trial_complete("z", result(2, 0.6, finished=True))
    assert (search.trial(0).state, search.trial(0).value) == (TrialState.COMPLETE, 0.6)
    # Its first attempt counts as no trial of its own.
    assert search.suggest("a")["number"] == 2


def test_a_trial_that_did_not_fit_beside_others_stays_alone_after_a_resume_too(tmp_path: Path) -> None:
    search = Search(tmp_path)
    first = search.suggest("x")
    search.searcher.on_trial_complete("x", None, error=True)
    search.searcher.again("x", Retry(64, "did not fit", alone=True))
    again = first | {"micro_batch": 64, "attempt": 2, "alone": True}
    assert search.suggest("y") == again
    assert Search(tmp_path).suggest("z") == again | {"attempt": 1}


def test_the_search_is_not_finished_while_a_trial_may_have_to_be_handed_out_again(tmp_path: Path) -> None:
    """Tune does not ask again after it was told so."""
    search = Search(tmp_path, trials=1, concurrent=2)
    search.suggest("x")
    assert search.searcher.suggest("y") is None
    search.searcher.on_trial_complete("x", None, error=True)
    search.searcher.again("x", Retry(64, "lost"))
    assert search.suggest("y")["number"] == 0
    search.searcher.on_trial_complete("y", result(1, 0.5, finished=True))
    assert search.searcher.suggest("z") == Searcher.FINISHED


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
        search.searcher.on_trial_complete(name, None)
    assert search.searcher.suggest("z") == Searcher.FINISHED
    assert len(search.study.get_trials()) == 2


def test_unfinished_trials_of_an_earlier_process_come_first_with_what_they_reported(tmp_path: Path) -> None:
    before = Search(tmp_path, trials=4, concurrent=3)
    drawn = [before.suggest(name)["params"] for name in "xyz"]
    for iteration, value in ((1, 0.7), (2, 0.6)):
        before.searcher.on_trial_result("x", result(iteration, value))
    before.stop_at_rung("y", 1, 1, 0.9)

    after = Search(tmp_path, trials=4, concurrent=3)
    suggested = [after.suggest(name) for name in "abc"]
    assert [s["number"] for s in suggested] == [0, 2, 3]
    assert [s["reported"] for s in suggested] == [2, 0, 0]
    assert [s["params"] for s in suggested[:2]] == [drawn[0], drawn[2]]
    for name, number in zip("abc", (0, 2, 3), strict=True):
        after.stop_at_rung(name, number, 2, 0.9)
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


def test_one_worker_that_is_resumed_at_every_step_asks_the_same_trials(tmp_path: Path) -> None:
    def drawn(path: Path, resumed: bool) -> list[Config]:
        path.mkdir()
        search = Search(path, trials=6, concurrent=1, seed=4)
        found = []
        for number in range(6):
            if resumed:
                search = Search(path, trials=6, concurrent=1, seed=4)
            found.append(search.suggest(str(number))["params"])
            if resumed:  # died with the trial under way
                search = Search(path, trials=6, concurrent=1, seed=4)
                assert search.suggest(str(number))["number"] == number
            search.searcher.on_trial_complete(str(number), result(1, 0.5 + number / 10, finished=True))
        return found

    assert drawn(tmp_path / "resumed", True) == drawn(tmp_path / "whole", False)


class Promoting(Search):
    """Three trials at rungs 1 and 3 of 9 iterations; the default is one of them."""

    def __init__(self, path: Path, trials: int = 4) -> None:
        super().__init__(path, trials, concurrent=1)
        trials_so_far = started(self.study)
        waiting = {trial.number: rung for trial in trials_so_far if (rung := waits_at(trial)) is not None}
        self.promotion = Promotion(decided_rungs(trials_so_far, (1, 3)), 9, 3, False, waiting)
        self.searcher = StudySearcher(self.study, SPACE, trials, lambda: 1, 0, self.promotion)

    def train(self, name: str, to: int, objective: float) -> None:
        """As Tune does, to where the trial stops."""
        number = self.suggest(name)["number"]
        for iteration in range(1, to):
            assert self.promotion.passes(number, iteration, objective)
            self.searcher.on_trial_result(name, result(iteration, objective))
        assert self.promotion.passes(number, to, objective) == (to == 9)
        self.searcher.on_trial_complete(name, result(to, objective, finished=to == 9))

    def waiting(self) -> dict[int, int | None]:
        return {trial.number: waits_at(trial) for trial in started(self.study)}


def test_a_trial_that_waits_is_under_way_and_is_continued_before_another_starts(tmp_path: Path) -> None:
    search = Promoting(tmp_path)
    search.train("a", 9, 0.5)
    search.train("b", 1, 0.6)
    assert search.waiting() == {0: None, 1: 1}
    assert search.trial(1).state == TrialState.RUNNING
    search.train("c", 1, 0.7)
    # Of three one goes on, and that is the default; a better one takes its place.
    search.suggest("d")
    assert search.promotion.passes(3, 1, 0.1)
    search.searcher.on_trial_result("d", result(1, 0.1))
    assert not search.promotion.passes(3, 3, 0.1)
    search.searcher.on_trial_complete("d", result(3, 0.1))
    assert search.waiting() == {0: None, 1: 1, 2: 1, 3: 3}
    assert search.searcher.suggest("e") == Searcher.FINISHED


def test_a_resume_continues_what_trains_and_lets_wait_what_waits(tmp_path: Path) -> None:
    search = Promoting(tmp_path, trials=8)
    search.train("a", 9, 0.5)
    for name, objective in (("b", 0.4), ("c", 0.6)):
        search.train(name, 1, objective)
    assert search.waiting() == {0: None, 1: 1, 2: 1}
    again = Promoting(tmp_path, trials=8)
    assert [again.promotion.waits_at(number) for number in (0, 1, 2)] == [None, 1, 1]
    # The best of the three is continued, with what it has reported; killed before it trains, it is handed out anew.
    assert again.suggest("d") | {"attempt": 0} == again.suggest_of(1, reported=1)
    assert again.waiting()[1] is None
    third = Promoting(tmp_path, trials=8)
    assert third.suggest("e") | {"attempt": 0} == third.suggest_of(1, reported=1)
    assert third.promotion.passes(1, 1, 0.4)
    assert third.promotion.target(1) == 3


def test_who_waits_when_the_search_is_over_may_be_a_finalist(tmp_path: Path) -> None:
    search = Promoting(tmp_path, trials=3)
    search.train("a", 9, 0.5)
    search.train("b", 1, 0.6)
    search.train("c", 1, 0.55)
    assert [trial.number for trial in best_first(search.study)] == [0, 2, 1]


def test_the_studys_direction_is_that_of_the_metric(tmp_path: Path) -> None:
    (tmp_path / "auc").mkdir()
    assert Search(tmp_path).study.direction == optuna.study.StudyDirection.MINIMIZE
    auc = create_study(RunDir(tmp_path / "auc"), SPACE, "tune_auc")
    assert auc.direction == optuna.study.StudyDirection.MAXIMIZE
