"""The study on disk: what is asked depends on it and the seed alone; only complete trials are best."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

import hybridtune.search.study.study
from hybridtune.data.features import FEATURE_NAMES
from hybridtune.data.schema import DEFAULT_HORIZONS, InputError
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.registry import ARCHITECTURES
from hybridtune.models.training.config import Budget
from hybridtune.search.finalists.members import choose_members
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import (
    ask,
    best_first,
    config_of,
    create_study,
    open_study,
    reopen,
    report_value,
    started,
    tell,
)
from hybridtune.spaces.every import ALL
from hybridtune.spaces.parameters import Choice, Config, Float, Int, Space
from hybridtune.spaces.tcn import TCN
from hybridtune.spaces.trial_config import Shape, trial_config

SPACE = Space(
    "small",
    {
        "kind": Choice(choices=("a", "b", "c")),
        "size": Int(low=32, high=128, step=16),
        "fixed": Choice(choices=(1,)),
        "dropout": Float(low=0.2, high=0.5),
        "rate": Float(low=1e-4, high=1e-3, log=True),
    },
    {"kind": "b", "size": 48, "fixed": 7, "dropout": 0.9, "rate": 5e-4},
)
DEFAULT: Config = {"kind": "b", "size": 48, "fixed": 1, "dropout": 0.5, "rate": 5e-4}

CONDITIONAL = Space(
    "conditional",
    dict(SPACE.dimensions)
    | {
        "depth": Int(low=1, high=4, when={"kind": ("a", "b")}),
        "wave": Choice(choices=("sine", "none"), when={"kind": ("a",)}),
        "width": Float(low=0.0, high=1.0, when={"wave": ("sine",)}),
    },
    SPACE.reference | {"depth": 2, "wave": "sine", "width": 0.5},
)
SPACES = {"flat": SPACE, "conditional": CONDITIONAL}


def folder(path: Path) -> RunDir:
    path.mkdir(exist_ok=True)
    return RunDir(path)


def loss(params: Config) -> float:
    return float(params["dropout"]) + 100 * float(params["rate"]) + len(str(params["size"]))


def walk(run: RunDir, trials: int, seed: int, reopened: bool = False, space: Space = SPACE) -> list[Config]:
    """Asks and tells so many trials, every third one pruned; optionally with a new connection for each."""
    study = create_study(run, space, "tune_loss")
    configs = []
    for number in range(trials):
        if reopened:
            study = create_study(run, space, "tune_loss")
        trial = ask(study, space, seed)
        report_value(trial, 1, loss(config_of(trial)))
        state = TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE
        tell(study, trial, state, loss(config_of(trial)))
        configs.append(config_of(trial))
    return configs


def test_trial_0_is_the_guides_default_within_the_space(tmp_path: Path) -> None:
    study = create_study(RunDir(tmp_path), SPACE, "tune_loss")
    assert started(study) == []
    first = ask(study, SPACE, seed=3)
    assert (first.number, config_of(first)) == (0, DEFAULT)
    assert first.user_attrs["origin"] == "reference"
    assert config_of(ask(study, SPACE, seed=3)) != DEFAULT


def test_a_second_creation_of_the_study_does_not_enqueue_the_default_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for _ in range(3):
        study = create_study(run, SPACE, "tune_loss")
    assert len(study.get_trials()) == 1
    assert [config_of(ask(study, SPACE, 0)) == DEFAULT for _ in range(3)] == [True, False, False]


def test_the_same_seed_asks_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    one = walk(folder(tmp_path / "one"), 4, seed=5)
    two = walk(folder(tmp_path / "two"), 4, seed=5)
    other = walk(folder(tmp_path / "other"), 4, seed=6)
    assert one == two
    assert one[0] == other[0] == DEFAULT
    assert all(a != b for a, b in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_reopened_database_asks_what_it_would_have_asked_had_it_stayed_open(tmp_path: Path, space: Space) -> None:
    """Beyond the ten random trials that begin a search, so that the guided ones are among them."""
    kept_open = walk(folder(tmp_path / "open"), 16, seed=1, space=space)
    reopened = walk(folder(tmp_path / "reopened"), 16, seed=1, reopened=True, space=space)
    assert reopened == kept_open


def test_a_conditional_dimension_is_asked_only_where_it_exists(tmp_path: Path) -> None:
    configs = walk(folder(tmp_path / "run"), 25, seed=3, space=CONDITIONAL)
    assert {str(params["kind"]) for params in configs} == {"a", "b", "c"}
    for params in configs:
        assert ("depth" in params) == (params["kind"] != "c")
        assert ("wave" in params) == (params["kind"] == "a")
        assert ("width" in params) == (params.get("wave") == "sine")


def test_whatever_is_asked_of_all_architectures_makes_a_model_of_each(tmp_path: Path) -> None:
    """The guided trials too."""
    study = create_study(RunDir(tmp_path), ALL, "tune_loss")
    found = set()
    for number in range(30):
        trial = ask(study, ALL, seed=0)
        params = config_of(trial)
        assert list(params) == [name for name in ALL.dimensions if ALL.active(name, params)]
        found.add(type(trial_config(params, Shape(), Budget()).model))
        tell(study, trial, TrialState.COMPLETE, loss({"size": 1, "dropout": params["dropout"], "rate": number / 1000}))
    assert found == {architecture.Config for architecture in ARCHITECTURES.values()}


class Killed(BaseException):
    """Stands for the end of a process in the middle of a draw."""


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("number", [0, 2, 14])
@pytest.mark.parametrize("drawn", [0, 1, 4])
def test_a_draw_that_was_cut_short_is_made_again_as_it_would_have_been(
    tmp_path: Path, number: int, drawn: int, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 0 comes from the queue, which it has left by then."""
    undisturbed = walk(folder(tmp_path / "undisturbed"), number + 1, seed=2, space=space)
    run = folder(tmp_path / "killed")
    walk(run, number, seed=2, space=space)
    suggest, calls = hybridtune.search.study.study._suggest, iter(range(100))

    def dying(*arguments: object) -> None:
        if next(calls) == drawn:
            raise Killed
        suggest(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(hybridtune.search.study.study, "_suggest", dying)
        with pytest.raises(Killed):
            ask(create_study(run, space, "tune_loss"), space, seed=2)

    study = create_study(run, space, "tune_loss")
    left = [t for t in started(study) if t.state == TrialState.RUNNING]
    assert [(t.number, len(t.params)) for t in left] == ([(0, drawn)] if number == 0 else [])
    again = reopen(study, left[0], space) if left else ask(study, space, seed=2)
    assert (again.number, config_of(again)) == (number, undisturbed[number])
    assert len(started(study)) == number + 1


def test_configurations_of_other_dimensions_are_distinct_and_ranked_together(tmp_path: Path) -> None:
    study = create_study(RunDir(tmp_path), CONDITIONAL, "tune_loss")
    short: Config = DEFAULT | {"kind": "c"}
    told = ((DEFAULT | {"depth": 2}, 0.5), (short, 0.4), (DEFAULT | {"depth": 3}, 0.3), (short, 0.2))
    for params, value in told:
        # Trial 0 is in the queue already.
        if value < 0.5:
            study.enqueue_trial(params)
        tell(study, ask(study, CONDITIONAL, seed=0), TrialState.COMPLETE, value)
    assert [config_of(t) for t in best_first(study)] == [short, DEFAULT | {"depth": 3}, DEFAULT | {"depth": 2}]


@pytest.mark.parametrize("history", [10, 30, 720])
def test_the_basic_baseline_fits_every_history(tmp_path: Path, history: int) -> None:
    """Also where the searched space has no window at all."""
    study = create_study(RunDir(tmp_path), TCN, "tune_loss")
    tell(study, ask(study, TCN, seed=0), TrialState.COMPLETE, 0.5)
    settings = Settings(
        dataset=tmp_path, dimensions=dict(TCN.dimensions), reference=TCN.reference, trials=1, concurrent=1
    )
    chosen = choose_members(study, settings, Shape(history=history))
    assert [spec.origin for spec in chosen] == ["basic LSTM", "trial 0", "trial 0"]
    assert [spec.roles for spec in chosen] == [("basic",), ("reference",), ("reference",)]
    model = trial_config(chosen[0].params, Shape(history=history), Budget()).model
    assert model == BasicLSTM.Config(
        input_size=len(FEATURE_NAMES), horizons=len(DEFAULT_HORIZONS), history=history, window=min(60, history)
    )


@pytest.mark.parametrize(("metric", "best_to_worst"), [("tune_loss", [1, 3, 0]), ("tune_auc", [0, 3, 1])])
def test_only_distinct_complete_trials_are_ranked_best_first(
    tmp_path: Path, metric: str, best_to_worst: list[int]
) -> None:
    study = create_study(RunDir(tmp_path), SPACE, metric)  # type: ignore[arg-type]
    told = [
        (TrialState.COMPLETE, 0.9),
        (TrialState.COMPLETE, 0.1),
        (TrialState.PRUNED, 0.0),
        (TrialState.COMPLETE, 0.5),
        (TrialState.PRUNED, 1.0),
        (TrialState.FAIL, None),
    ]
    for state, value in told:
        trial = ask(study, SPACE, seed=0)
        if value is not None:
            report_value(trial, 1, value)
        tell(study, trial, state, value)
    ask(study, SPACE, seed=0)
    # The default once more: the same configuration does not stand twice.
    study.enqueue_trial(DEFAULT)
    tell(study, ask(study, SPACE, seed=0), TrialState.COMPLETE, 0.9)
    assert [t.number for t in best_first(study)] == best_to_worst


def test_the_first_value_of_an_iteration_is_the_one_kept(tmp_path: Path) -> None:
    study = create_study(RunDir(tmp_path), SPACE, "tune_loss")
    trial = ask(study, SPACE, seed=0)
    for value in (0.7, 0.6):
        report_value(trial, 1, value)
    assert study.get_trials()[0].intermediate_values == {1: 0.7}


def test_a_database_without_a_study_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        open_study(RunDir(tmp_path))


FINITE = Space(
    "finite",
    {
        "kind": Choice(choices=("a", "b")),
        "size": Int(low=1, high=4),
        "wave": Choice(choices=("sine", "none"), when={"kind": ("a",)}),
        "rate": Float(low=0.5, high=0.5),
    },
    {"kind": "b", "size": 1, "wave": "none", "rate": 0.5},
)


def test_the_configurations_of_a_finite_space_are_listed() -> None:
    listed = list(FINITE.configurations())
    assert len(listed) == FINITE.size() == 12
    for config in listed:
        FINITE.check_inside(config)
    assert len({frozenset(config.items()) for config in listed}) == 12


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_finite_space_gives_each_configuration_once(tmp_path: Path, sampler: str) -> None:
    """TPE drew the same best configuration again and again."""
    study = create_study(folder(tmp_path), FINITE, "tune_loss")
    drawn = []
    for number in range(12):
        if number == 6:  # a resume draws on
            study = create_study(folder(tmp_path), FINITE, "tune_loss")
        trial = ask(study, FINITE, 0, sampler)
        assert trial.number == number
        config = config_of(trial)
        tell(study, trial, TrialState.COMPLETE, 0.1 * float(config["size"]) + (config["kind"] == "a"))
        drawn.append(config)
    assert {frozenset(config.items()) for config in drawn} == {frozenset(c.items()) for c in FINITE.configurations()}
    assert [config_of(trial) for trial in started(open_study(folder(tmp_path)))] == drawn
    # A warm start may have tried them all.
    assert config_of(ask(study, FINITE, 0, sampler)) in drawn
