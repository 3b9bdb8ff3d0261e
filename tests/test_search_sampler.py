"""Samplers by name, and a user's own."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.sampler import SAMPLERS, check_sampler, make_sampler
from hybridtune.search.study.standing import Standing
from hybridtune.search.study.storage import StudyMemory
from hybridtune.search.study.study import ask, best_first, config_of, create_study, report_value, started, tell
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Config, Float, Space

OWN = """
from optuna.samplers import RandomSampler

def mine(seed):
    return RandomSampler(seed=seed)

def wrong(seed):
    return seed

def broken():
    pass
"""


def configs(path: Path, sampler: str, seed: int, reopened: bool) -> list[Config]:
    path.mkdir()
    found = []
    study = create_study(RunDir(path), HYBRID, "tune_loss")
    for _ in range(14):
        if reopened:
            study = create_study(RunDir(path), HYBRID, "tune_loss")
        trial = ask(study, HYBRID, seed, sampler)
        params = config_of(trial)
        report_value(trial, 1, float(params["dropout"]))
        tell(study, trial, TrialState.COMPLETE, float(params["dropout"]))
        found.append(params)
    assert len(started(study)) == 14
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_gives_the_same_trials_also_to_a_process_that_resumes(tmp_path: Path, sampler: str) -> None:
    whole = configs(tmp_path / "whole", sampler, 1, reopened=False)
    assert configs(tmp_path / "resumed", sampler, 1, reopened=True) == whole
    assert whole[0] == HYBRID.default()
    assert configs(tmp_path / "other", sampler, 2, reopened=False)[1:] != whole[1:]


def test_samplers_differ_once_they_have_learnt(tmp_path: Path) -> None:
    last = {tuple(configs(tmp_path / name, name, 1, reopened=False)[-1].items()) for name in SAMPLERS}
    assert len(last) == len(SAMPLERS)


def test_a_users_own_sampler_is_a_function_of_a_module_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_samplers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["nowhere"])
    own = configs(tmp_path / "own", "my_samplers:mine", 1, reopened=False)
    assert own == configs(tmp_path / "random", "random", 1, reopened=False)
    for name, message in {
        "my_samplers:wrong": "must return an Optuna sampler, got int",
        "my_samplers:broken": "cannot be made: .*positional argument",
        "my_samplers:absent": "cannot be made: .*no attribute 'absent'",
        "no_such_module:mine": "cannot be made: No module named 'no_such_module'",
    }.items():
        with pytest.raises(InputError, match=message):
            check_sampler(name)


@pytest.mark.parametrize("name", ["", "TPE", "module:", ":function", "tpe:"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match=r"sampler (must be one of tpe, random, gp|'tpe:')"):
        check_sampler(name)


def test_every_shipped_sampler_can_be_made_for_a_space_with_conditions() -> None:
    from hybridtune.spaces.every import ALL

    for name in SAMPLERS:
        make_sampler(name, ALL, 3)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_tpe_learns_from_the_latest_trials_and_the_best_before_them(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybridtune.search.study.sampler.LATEST", 30)
    space = Space("one", {"rate": Float(low=0.0, high=1.0)}, {})
    spread = {"rate": distribution(space.dimensions["rate"])}
    study = optuna.create_study(direction=direction)
    # The good ones, near 0.2, came first; what followed was bad and says nothing of them.
    for number in range(200):
        rate = 0.2 + number / 5000 if number < 25 else 0.5 + (number % 50) / 100
        value = abs(rate - 0.2) * (1 if direction == "minimize" else -1)
        study.add_trial(create_trial(params={"rate": rate}, distributions=spread, value=value))
    asked = []
    real = TPESampler._build_parzen_estimator

    def watched(self: TPESampler, study: Any, space: Any, trials: Any, handle_below: bool) -> Any:
        asked.append([trial.number for trial in trials])
        return real(self, study, space, trials, handle_below)

    monkeypatch.setattr(TPESampler, "_build_parzen_estimator", watched)
    drawn = []
    for seed in range(10):
        study.sampler = make_sampler("tpe", space, seed)
        trial = study.ask(spread)
        drawn.append(trial.params["rate"])
        study.tell(trial, state=TrialState.FAIL)
    good, rest = asked[:2]
    # Of the 54 that it knows a tenth is good. The 30th of the latest is the one that is being drawn.
    assert good == [0, 1, 2, 3, 4, 5]
    assert rest == [*range(6, 25), *range(171, 200)]
    assert sum(rate < 0.35 for rate in drawn) >= 8


@pytest.fixture(scope="module")
def hopeless() -> optuna.Study:
    """10,000 failed trials."""
    study = optuna.create_study(storage=StudyMemory())
    known = {name: distribution(dimension) for name, dimension in HYBRID.dimensions.items()}
    failed = create_trial(state=TrialState.FAIL, params=HYBRID.default(), distributions=known)
    study.add_trials([failed] * 10_000)
    return study


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_where_nothing_but_10000_trials_failed_the_next_is_drawn_all_the_same(
    hopeless: optuna.Study, sampler: str
) -> None:
    before = len(started(hopeless))
    HYBRID.check_inside(config_of(ask(hopeless, HYBRID, 0, sampler)))
    assert len(started(hopeless)) == before + 1


def test_what_10000_failed_trials_come_to_is_told(hopeless: optuna.Study) -> None:
    standing = Standing(hopeless)
    assert (standing.failed, standing.best) == (10_000, None)
    assert standing.hopeless()
    assert best_first(hopeless) == []
