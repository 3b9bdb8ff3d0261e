"""When a search ends before all its trials are run."""

import time
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.data.schema import InputError
from hybridtune.search.study.rungs import WAITS_AT
from hybridtune.search.study.standing import Standing
from hybridtune.search.study.stopping import (
    SEARCH_SECONDS,
    StoppingRule,
    parse_duration,
    searched_seconds,
)

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def ended(*results: tuple[TrialState, float | None]) -> list[FrozenTrial]:
    """Trials that ended one after another."""
    trials = []
    for minute, (state, value) in enumerate(results):
        trial = create_trial(state=state, value=value)
        trial.datetime_complete = datetime(2026, 1, 1) + timedelta(minutes=minute)
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    ("results", "waited"),
    [
        ([], 0),
        ([(FAIL, None), (PRUNED, 0.1)], 0),  # none is complete
        ([(COMPLETE, 0.7)], 0),
        ([(COMPLETE, 0.7), (PRUNED, 0.1), (FAIL, None), (COMPLETE, 0.8)], 3),
        ([(COMPLETE, 0.7), (COMPLETE, 0.7)], 1),  # as good is not better
        ([(COMPLETE, 0.7), (COMPLETE, 0.8), (COMPLETE, 0.6), (PRUNED, 0.5)], 1),
    ],
)
def test_trials_are_counted_since_the_best_complete_one(
    results: list[tuple[TrialState, float | None]], waited: int
) -> None:
    study, backwards, mirrored = (optuna.create_study(direction=kind) for kind in ("minimize", "minimize", "maximize"))
    study.add_trials(ended(*results))
    backwards.add_trials(ended(*results)[::-1])
    mirrored.add_trials(ended(*((state, None if value is None else -value) for state, value in results)))
    assert [Standing(each).since_best for each in (study, backwards, mirrored)] == [waited] * 3
    # One after another as well.
    study = optuna.create_study()
    standing = Standing(study)
    for trial in ended(*results):
        study.add_trial(trial)
        standing.look()
    assert standing.since_best == waited


def study_of(*results: tuple[TrialState, float | None], seconds: float = 0.0) -> optuna.Study:
    study = optuna.create_study()
    study.add_trials(ended(*results))
    study.set_user_attr(SEARCH_SECONDS, seconds)
    return study


def test_a_search_without_limits_is_never_over() -> None:
    stopping = StoppingRule(study_of((COMPLETE, 0.5), *[(PRUNED, 0.6)] * 50, seconds=1e9), None, None)
    assert stopping.reached() is None
    assert not stopping.stops_running()


def test_a_search_all_of_whose_trials_fail_is_over_after_five_and_has_five_more_at_a_resume() -> None:
    study = study_of()
    stopping = StoppingRule(study, None, None)
    for count in range(1, 6):
        study.add_trials(ended((FAIL, None)))
        assert stopping.reached() == ("all of its 5 trials failed" if count == 5 else None)
    resumed = StoppingRule(study, None, None)
    study.add_trials(ended(*[(FAIL, None)] * 4))
    assert resumed.reached() is None
    study.add_trials(ended((FAIL, None)))
    assert resumed.reached() == "all of its 10 trials failed"
    study.add_trials(ended((PRUNED, 0.5), *[(FAIL, None)] * 9))
    assert resumed.reached() is None


@pytest.mark.parametrize(
    ("running", "hopeless"),
    [
        ([{}, {}], True),  # they have not shown anything yet
        ([{1: 0.7}, {}], True),  # as far as the failed ones came
        ([{1: 0.7, 2: 0.6}, {}], False),
    ],
)
def test_trials_under_way_do_not_keep_a_hopeless_search_alive(running: list[dict[int, float]], hopeless: bool) -> None:
    """With two and four workers all 40 of 40 trials were begun, each to fail: some trial was always under way."""
    study = study_of()
    stopping = StoppingRule(study, None, None)
    for _ in range(5):
        study.add_trial(create_trial(state=FAIL, intermediate_values={1: 0.7}))
    for values in running:
        study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values=values))
    assert (stopping.reached() == "all of its 5 trials failed") == hopeless


def waiting(objective: float) -> FrozenTrial:
    return create_trial(state=TrialState.RUNNING, intermediate_values={1: objective}, user_attrs={WAITS_AT: 1})


def test_who_waits_at_a_rung_has_brought_nothing_better_and_keeps_a_search_from_being_hopeless() -> None:
    study = study_of((COMPLETE, 0.5))
    study.add_trials([waiting(0.6)] * 19)
    assert StoppingRule(study, None, 20).reached() is None
    study.add_trial(waiting(0.6))
    assert StoppingRule(study, None, 20).reached() == "20 trials brought nothing better"
    for in_good_health in (0, 1):
        study = study_of()
        stopping = StoppingRule(study, None, None)
        study.add_trials([waiting(0.6)] * in_good_health)
        study.add_trials(create_trial(state=FAIL, intermediate_values={50: 0.7}) for _ in range(5))
        assert (stopping.reached() is None) == bool(in_good_health)


def test_what_an_extension_asks_for_is_not_held_against_what_was_before_it() -> None:
    """A search that had ended as nothing got better was extended, ran no trial, and read the test slice again."""
    study = study_of((COMPLETE, 0.5), *[(PRUNED, 0.6)] * 3)
    assert StoppingRule(study, None, 3, trials=20).reached() == "3 trials brought nothing better"
    for _ in range(3):
        # A resume of the extension counts on.
        assert StoppingRule(study, None, 3, trials=40).reached() is None
        study.add_trials(ended((PRUNED, 0.6)))
    assert StoppingRule(study, None, 3, trials=40).reached() == "3 trials brought nothing better"
    assert StoppingRule(study, 1e9, 3, trials=40).reached() is None


def test_a_killed_process_has_spent_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lives of 0.9 seconds on a budget of a second counted 0.0, as only a trial's end wrote the time down."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    study = study_of((PRUNED, 0.5))
    for life in range(2):
        stopping = StoppingRule(study, 1.0, None)
        assert stopping.reached() is None, life
        for _ in range(12):
            clock[0] += 0.05
            stopping.tick()
    assert searched_seconds(study) == pytest.approx(1.2)
    assert StoppingRule(study, 1.0, None).reached() == "its time budget of 1 seconds is spent"


def test_a_search_tries_something_however_long_its_workers_took_to_start() -> None:
    """Ten seconds of starting on a budget of eight ended a search with no trial, and a run with nothing in it."""
    assert StoppingRule(study_of(seconds=10.0), 8.0, None).reached() is None
    assert StoppingRule(study_of((FAIL, None), seconds=10.0), 8.0, None).reached() is not None


def test_the_time_is_not_written_at_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    study = study_of()
    stopping = StoppingRule(study, None, None)
    written = []
    for _ in range(100):
        clock[0] += 1.0
        stopping.tick()
        written.append(searched_seconds(study))
    assert len(set(written)) == 21


def test_time_that_an_earlier_process_spent_counts() -> None:
    study = study_of((COMPLETE, 0.5), seconds=50.0)
    assert StoppingRule(study, 60.0, None).reached() is None
    assert StoppingRule(study, 50.0, None).reached() == "its time budget of 50 seconds is spent"
    StoppingRule(study, 60.0, None).save()
    assert 50.0 <= searched_seconds(study) < 51.0


def test_trials_under_way_end_with_the_time_only_once_one_is_complete() -> None:
    late = 100.0
    assert not StoppingRule(study_of((PRUNED, 0.5), seconds=late), 60.0, None).stops_running()
    assert StoppingRule(study_of((COMPLETE, 0.5), seconds=late), 60.0, None).stops_running()
    # Nothing better for long starts no trial, and stops none.
    waited = StoppingRule(study_of((COMPLETE, 0.5), (PRUNED, 0.6), (PRUNED, 0.7)), None, 2)
    assert waited.reached() == "2 trials brought nothing better"
    assert not waited.stops_running()
    assert StoppingRule(study_of((COMPLETE, 0.5), (PRUNED, 0.6)), None, 2).reached() is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("0.5h", 1800), ("1h1m1s", 3661)]
)
def test_durations_are_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-1h", "0m", "2d", "1h30", "1e3s", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="time-budget must be a time like 2h, 90m or 1h30m, got"):
        parse_duration(text)
