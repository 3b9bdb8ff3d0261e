"""What the search's process holds in memory is what anybody else reads in study.db, after every step."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.sampler import SpaceTPESampler
from hybridtune.search.study.study import STUDY_NAME, ask, config_of, create_study, open_study, report_value, tell
from hybridtune.spaces.hybrid import HYBRID

SEED = 3


def assert_same(run: RunDir, study: optuna.Study) -> None:
    on_disk = open_study(run)
    assert on_disk.user_attrs == study.user_attrs
    assert on_disk.direction == study.direction
    for here, there in zip(study.get_trials(), on_disk.get_trials(), strict=True):
        for name in ("number", "state", "values", "params", "distributions", "user_attrs", "intermediate_values"):
            assert getattr(here, name) == getattr(there, name), name
        assert here.system_attrs == there.system_attrs


def test_every_change_is_in_the_file_at_once(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    study = create_study(run, HYBRID, "tune_auc")
    assert_same(run, study)
    study.set_user_attr("search_seconds", 3.5)
    study.enqueue_trial(HYBRID.default() | {"dropout": 0.45})
    assert_same(run, study)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    # Enough of them that the last are guided ones, which keep something of their draw.
    for number in range(15):
        trial = ask(study, HYBRID, SEED)
        assert_same(run, study)
        for iteration in (1, 2):
            report_value(trial, iteration, 0.6 + number / 100)
        trial.set_user_attr("micro_batch", 64)
        assert_same(run, study)
        tell(study, trial, states[number % 3], 0.7)
        assert_same(run, study)
    left = ask(study, HYBRID, SEED)
    report_value(left, 1, 0.5)

    reopened = create_study(run, HYBRID, "tune_auc")
    assert_same(run, reopened)
    assert [t.datetime_complete is None for t in reopened.get_trials()] == [False] * 15 + [True]
    tell(reopened, optuna.trial.Trial(reopened, reopened.get_trials()[15]._trial_id), TrialState.PRUNED)
    assert_same(run, reopened)
    assert reopened.get_trials()[15].value == 0.5


def test_a_trial_that_is_being_drawn_is_not_in_the_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    study = create_study(run, HYBRID, "tune_loss")
    tell(study, ask(study, HYBRID, SEED), TrialState.COMPLETE, 0.5)
    drawing = study.ask()
    drawing.suggest_float("dropout", 0.2, 0.5)
    drawing.set_user_attr("origin", "nowhere")
    assert len(open_study(run).get_trials()) == 1


def test_a_file_without_the_study_is_refused_as_optuna_does(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="another")
    study = create_study(RunDir(tmp_path), HYBRID, "tune_loss")
    assert (study.study_name, len(study.get_trials())) == (STUDY_NAME, 1)


def test_a_sampler_that_keeps_its_state_in_the_trials_goes_on_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NSGA-II does: its generations are attributes of the trials."""
    (tmp_path / "generations.py").write_text(
        "import optuna\ndef nsga(seed):\n    return optuna.samplers.NSGAIISampler(population_size=4, seed=seed)\n"
    )
    monkeypatch.chdir(tmp_path)
    found = []
    for name, reopened in (("whole", False), ("resumed", True)):
        (tmp_path / name).mkdir()
        run = RunDir(tmp_path / name)
        study = create_study(run, HYBRID, "tune_loss")
        for _ in range(14):
            study = create_study(run, HYBRID, "tune_loss") if reopened else study
            trial = ask(study, HYBRID, SEED, "generations:nsga")
            tell(study, trial, TrialState.COMPLETE, float(trial.params["dropout"]))
        assert_same(run, study)
        found.append([config_of(t) for t in study.get_trials()])
        assert max(t.system_attrs.get("NSGAIISampler:generation", 0) for t in study.get_trials()) >= 2
    assert found[0] == found[1]


def test_the_space_that_is_known_gives_the_draws_of_the_one_that_optuna_finds(tmp_path: Path) -> None:
    study = create_study(RunDir(tmp_path), HYBRID, "tune_loss")
    for number in range(14):
        tell(study, ask(study, HYBRID, SEED), TrialState.COMPLETE, 0.6 + number % 5 / 100)
    for seed in range(5):
        study.ask()
        trial = study.get_trials()[-1]
        ours, theirs = SpaceTPESampler(HYBRID, seed), optuna.samplers.TPESampler(seed=seed)
        known, found = (sampler.infer_relative_search_space(study, trial) for sampler in (ours, theirs))
        assert list(known.items()) == list(found.items())
        assert ours.sample_relative(study, trial, known) == theirs.sample_relative(study, trial, found)
