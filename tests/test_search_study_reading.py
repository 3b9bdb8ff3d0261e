"""What is read of study.db is what Optuna reads there, at once and piece by piece."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.reading import StudyReader, StudyView
from hybridtune.search.study.sampler import make_sampler
from hybridtune.search.study.study import STUDY_NAME, Tried, configurations_tried, viewed
from hybridtune.spaces.hybrid import HYBRID

WAIT = 0.2
HYBRID_DISTRIBUTIONS = {name: distribution(dimension) for name, dimension in HYBRID.dimensions.items()}


@pytest.fixture
def written(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(
        storage=RDBStorage(f"sqlite:///{tmp_path}/study.db"),
        study_name=STUDY_NAME,
        direction="maximize",
        sampler=make_sampler("random", HYBRID, 0),
    )


def fields(study: optuna.Study) -> list[str]:
    """Text, in which one that is not a number equals another."""
    names = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs", "datetime_start")
    more = ("datetime_complete", "intermediate_values", "_trial_id")
    return [repr([getattr(trial, name) for name in (*names, *more)]) for trial in study.get_trials()]


def test_every_step_is_seen_by_who_has_read_before_and_by_who_has_not(tmp_path: Path, written: optuna.Study) -> None:
    early = StudyView(tmp_path / "study.db", STUDY_NAME, WAIT)

    def same() -> None:
        early.catch_up()
        late = viewed(StudyView(tmp_path / "study.db", STUDY_NAME, WAIT))
        assert fields(viewed(early)) == fields(late) == fields(written)
        for study in (viewed(early), late):
            assert (study.direction, study.user_attrs) == (written.direction, written.user_attrs)

    written.set_user_attr("search_seconds", 3.5)
    written.enqueue_trial(HYBRID.default(), user_attrs={"origin": "reference"})
    same()
    trials = [written.ask() for _ in range(4)]
    same()
    for trial in trials:
        trial.suggest_float("dropout", 0.2, 0.5)
        trial.suggest_categorical("architecture", ["hybrid_lstm", "basic_lstm"])
        trial.suggest_int("hidden_size", 16, 128, log=True)
    trials[1].report(0.5, 1)
    same()
    for trial, value in zip(trials, (0.1, float("nan"), float("inf"), float("-inf")), strict=True):
        trial.report(value, 2)
        trial.set_user_attr("waits_at", 2)
    same()
    trials[1].set_user_attr("waits_at", None)
    trials[2].report(0.7, 3)
    written.tell(trials[2], float("inf"))
    written.tell(trials[0], state=TrialState.PRUNED)
    same()
    trials[1].report(0.8, 4)
    written.tell(trials[3], state=TrialState.FAIL)
    written.add_trial(create_trial(value=0.4, intermediate_values={1: 0.4}, user_attrs={"warm_start": 3}))
    written.set_user_attr("search_seconds", 4.5)
    same()
    written.tell(trials[1], 0.9)
    same()
    assert viewed(early).get_trials()[1].intermediate_values == {
        1: 0.5,
        2: pytest.approx(float("nan"), nan_ok=True),
        4: 0.8,
    }


@pytest.mark.usefixtures("written")
def test_a_reading_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    caplog.clear()
    try:
        StudyView(tmp_path / "study.db", STUDY_NAME, WAIT)
    finally:
        optuna.logging.disable_propagation()
        optuna.logging.set_verbosity(before)
    assert caplog.messages == []


def test_only_what_is_new_is_read(tmp_path: Path, written: optuna.Study) -> None:
    reader = StudyReader(tmp_path / "study.db", STUDY_NAME, WAIT)
    first, second = written.ask(), written.ask()
    assert numbers(reader.read().trials) == [0, 1]
    first.report(0.5, 1)
    written.tell(second, 0.5)
    assert numbers(reader.read().trials) == [0, 1]
    assert numbers(reader.read().trials) == [0]
    written.tell(first, 0.5)
    assert numbers(reader.read().trials) == [0]
    assert reader.read().trials == []


def test_a_reading_that_fails_is_made_up_for(tmp_path: Path, written: optuna.Study) -> None:
    view = StudyView(tmp_path / "study.db", STUDY_NAME, WAIT)
    trial = written.ask()
    trial.report(0.5, 1)
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            view.catch_up()
        other.execute("ROLLBACK")
    assert viewed(view).get_trials() == []
    trial.report(0.6, 2)
    view.catch_up()
    assert fields(viewed(view)) == fields(written)


def test_nothing_can_be_written_and_no_file_is_made(tmp_path: Path, written: optuna.Study) -> None:
    reader = StudyReader(tmp_path / "study.db", STUDY_NAME, WAIT)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM studies")
    with pytest.raises(KeyError, match="other"):
        StudyReader(tmp_path / "study.db", "other", WAIT)
    with pytest.raises(sqlite3.OperationalError):
        StudyReader(tmp_path / "none.db", STUDY_NAME, WAIT)
    assert not (tmp_path / "none.db").exists()


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_a_trial_that_is_seen_before_it_has_its_parameters_is_counted_by_what_it_gets(written: optuna.Study) -> None:
    tried = Tried()
    first, second = written.ask(), written.ask()
    assert tried(written, written.get_trials()) == 1
    first.suggest_float("dropout", 0.2, 0.5)
    second.suggest_float("dropout", 0.2, 0.5)
    assert tried(written, written.get_trials()) == configurations_tried(written) == 2
    for trial in (first, second):
        written.tell(trial, 0.5)
    assert tried(written, written.get_trials()) == 2


@pytest.mark.parametrize("ended", [20, 60])
def test_a_reading_costs_what_is_new_however_much_there_is(tmp_path: Path, written: optuna.Study, ended: int) -> None:
    for _ in range(ended):
        trial = written.ask(HYBRID_DISTRIBUTIONS)
        trial.set_user_attr("host", "10.0.0.1")
        written.tell(trial, 0.5)
    written.ask(HYBRID_DISTRIBUTIONS)
    reader = StudyReader(tmp_path / "study.db", STUDY_NAME, WAIT)
    reader.read()
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    reader._connection.set_progress_handler(count, 10)
    reader.read()
    assert steps < 100
