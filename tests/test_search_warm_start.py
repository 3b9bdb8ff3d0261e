"""An earlier run's completed trials teach a new search; they are not its own."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.pipeline import new_settings
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import WAITS_AT
from hybridtune.search.study.study import (
    WARM_START,
    ask,
    best_first,
    config_of,
    configurations_tried,
    create_study,
    report_value,
    started,
    tell,
)
from hybridtune.search.study.warm_start import check_warm_start, warm_start
from hybridtune.spaces.basic import BASIC
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Choice, Float, Space

FINGERPRINT = "abc"


def settings(space: Space = HYBRID, **changes: Any) -> Settings:
    values = {
        "dimensions": dict(space.dimensions),
        "reference": space.reference,
        "trials": 9,
        "concurrent": 1,
    } | changes
    return Settings(dataset=Path("/nowhere"), **values)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run of four completed trials, a stopped and a failed one. The higher its dropout, the better a trial was."""
    run = RunDir.create(tmp_path / "earlier", settings(), FINGERPRINT)
    study = create_study(run, HYBRID, "tune_loss")
    for state in [*[TrialState.COMPLETE] * 4, TrialState.PRUNED, TrialState.FAIL]:
        trial = ask(study, HYBRID, seed=1)
        value = 1 - float(config_of(trial)["dropout"])
        trial.report(value, 1)
        tell(study, trial, state, value)
    return run.path


def begin(tmp_path: Path, earlier: Path, space: Space = HYBRID) -> tuple[optuna.Study, Settings]:
    run = RunDir(tmp_path / "new")
    run.path.mkdir(exist_ok=True)
    asked = settings(space, warm_start=earlier)
    study = create_study(run, space, "tune_loss")
    warm_start(study, asked)
    return study, asked


def test_the_configurations_of_an_earlier_run_count_as_tried(tmp_path: Path, earlier: Path) -> None:
    """All six that it began, stopped and failed ones too; the two that both tried count once."""
    study, asked = begin(tmp_path, earlier)
    assert configurations_tried(study) == 6
    for _ in range(3):
        trial = ask(study, asked.space, 7)
        tell(study, trial, TrialState.FAIL)
    # The default and the best of before, then one of its own.
    assert configurations_tried(study) == 7


def test_an_earlier_run_that_has_moved_is_not_needed_again(tmp_path: Path, earlier: Path) -> None:
    study, asked = begin(tmp_path, earlier)
    earlier.rename(tmp_path / "moved")
    warm_start(study, asked)
    assert configurations_tried(study) == 6


def learnt(study: optuna.Study) -> list[int]:
    return [t.user_attrs[WARM_START] for t in study.get_trials() if WARM_START in t.user_attrs]


def test_completed_trials_are_known_to_the_sampler_but_are_not_the_searchs_own(tmp_path: Path, earlier: Path) -> None:
    study, asked = begin(tmp_path, earlier)
    assert learnt(study) == [0, 1, 2, 3]
    assert all(t.state == TrialState.COMPLETE for t in study.get_trials() if WARM_START in t.user_attrs)
    assert started(study) == []
    assert best_first(study) == []
    # The default first, then the best of the earlier run, to be measured anew.
    before = optuna.load_study(study_name="hybridtune", storage=f"sqlite:///{earlier}/study.db")
    assert config_of(ask(study, asked.space, 0)) == HYBRID.default()
    second = ask(study, asked.space, 0)
    assert config_of(second) == config_of(best_first(before)[0])
    assert second.user_attrs["origin"] == "warm start"
    third = ask(study, asked.space, 0)
    assert config_of(third) not in [config_of(t) for t in study.get_trials()[:-1]]
    assert [t.number for t in started(study)] == [0, 1, third.number]


def test_a_launch_that_was_killed_in_the_middle_adds_none_twice(
    tmp_path: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = 0
    add = optuna.Study.add_trial

    def dies(self: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        nonlocal added
        if added == 2:
            raise KeyboardInterrupt
        added += 1
        add(self, trial)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "add_trial", dies)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path, earlier)
    for _ in range(2):
        study, _ = begin(tmp_path, earlier)
        assert learnt(study) == [0, 1, 2, 3]
        assert sum(t.state == TrialState.WAITING for t in study.get_trials()) == 2


def test_a_process_that_resumes_asks_what_the_first_would_have_asked(tmp_path: Path, earlier: Path) -> None:
    """The numbers of the trials begin after those of the earlier run's."""
    study, asked = begin(tmp_path, earlier)
    drawn = [config_of(ask(study, asked.space, 5)) for _ in range(4)]
    (tmp_path / "new" / "study.db").unlink()
    for params in drawn:
        study, asked = begin(tmp_path, earlier)
        assert config_of(ask(study, asked.space, 5)) == params


def narrowed(name: str, dimension: Choice | Float) -> Space:
    return HYBRID.with_dimensions({name: dimension})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (narrowed("dropout", Float(low=0.45, high=0.5)), r"trial 0 of .* its dropout=0.3 is not 0.45 to 0.5"),
        (narrowed("scaling", Choice(choices=("robust",))), r"its scaling=standard is not robust"),
        (BASIC, r"it has windows=15/60/240, the space has no such dimension"),
    ],
)
def test_trials_outside_the_space_are_refused_by_name(earlier: Path, space: Space, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_warm_start(earlier, settings(space), FINGERPRINT)


def test_the_best_may_wait_at_a_rung_and_has_to_be_inside_as_well(tmp_path: Path) -> None:
    """Under promotion it was tried as it was, outside of the space, or ended the launch in a traceback."""
    run = RunDir.create(tmp_path / "earlier", settings(), FINGERPRINT)
    study = create_study(run, HYBRID, "tune_loss")
    tell(study, ask(study, HYBRID, seed=1), TrialState.COMPLETE, 0.69)
    study.enqueue_trial(HYBRID.default() | {"dropout": 0.45})
    waits = ask(study, HYBRID, seed=1)
    report_value(waits, 1, 0.60)
    waits.set_user_attr(WAITS_AT, 1)
    with pytest.raises(InputError, match=r"trial 1 of .* its dropout=0.45 is not 0.2 to 0.4"):
        check_warm_start(run.path, settings(narrowed("dropout", Float(low=0.2, high=0.4))), FINGERPRINT)
    check_warm_start(run.path, settings(), FINGERPRINT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 50}, "was run with iterations 100, this search with 50: make them equal"),
        ({"metric": "tune_auc"}, "was run with metric tune_loss, this search with tune_auc"),
        ({"horizons": (15,)}, r"was run with horizons None, this search with \(15,\)"),
    ],
)
def test_an_objective_that_means_something_else_is_refused(
    earlier: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_warm_start(earlier, settings(**changes), FINGERPRINT)


def test_another_dataset_no_run_and_a_run_without_completed_trials_are_refused(tmp_path: Path, earlier: Path) -> None:
    check_warm_start(earlier, settings(), FINGERPRINT)
    check_warm_start(earlier, settings(narrowed("dropout", Float(low=0.0, high=0.9))), FINGERPRINT)
    with pytest.raises(InputError, match="searched dataset abc, this one is xyz"):
        check_warm_start(earlier, settings(), "xyz")
    with pytest.raises(InputError, match="is not a run directory"):
        check_warm_start(tmp_path, settings(), FINGERPRINT)
    empty = RunDir.create(tmp_path / "empty", settings(), FINGERPRINT)
    with pytest.raises(InputError, match="holds no study yet"):
        check_warm_start(empty.path, settings(), FINGERPRINT)
    create_study(empty, HYBRID, "tune_loss")
    with pytest.raises(InputError, match="has no completed trial to start from"):
        check_warm_start(empty.path, settings(), FINGERPRINT)


def test_its_path_is_kept_whole_as_a_resume_may_come_from_elsewhere(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(dataset.source, Path)
    assert (
        new_settings(dataset.source, "basic", {"warm_start": "earlier"}, OwnWorkers()).warm_start
        == tmp_path / "earlier"
    )
