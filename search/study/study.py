"""The Optuna study: its file, what is asked of it and told to it. Knows no Ray.

States as Optuna names them: COMPLETE trained to its end (the full budget, or its own patience), PRUNED was
stopped by the scheduler, FAIL had an error or a loss that is not finite, RUNNING is under way or was when the
search was interrupted.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL

from hybridtune.data.schema import InputError
from hybridtune.models.training.config import Metric, higher_is_better
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.backup import check_study, has_study
from hybridtune.search.study.reading import StudyReader, StudyView
from hybridtune.search.study.rungs import waits_at
from hybridtune.search.study.sampler import MakeSampler, make_sampler
from hybridtune.search.study.storage import StudyFile, StudyMemory
from hybridtune.search.study.until_ended import UntilEnded
from hybridtune.spaces.parameters import Choice, Config, Dimension, Float, Space

STUDY_NAME = "hybridtune"
DATABASE_TIMEOUT_SECONDS = 60
WAIT_SECONDS = 2
"""How long somebody who only looks waits for one who writes."""
WARM_START = "warm_start"
"""Attribute of a trial that an earlier run made, its number there; it is no trial of this search."""

EARLIER_CONFIGURATIONS = "earlier_configurations"
"""Attribute of the study: how many configurations the run of its warm start had tried."""

SAMPLER_ATTEMPTS, RANDOM_ATTEMPTS = 10, 20
"""Draws of a configuration that is new: by the sampler, then at random."""

RUNNING = "running"
STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: RUNNING,
}
WAITING = "waiting"
"""Of a trial under way that waits at a rung."""


def create_study(run: RunDir, space: Space, metric: Metric) -> optuna.Study:
    """The run's study to write to, or a new one whose trial 0 will be the space's default configuration. The caller
    holds the run's lock.
    """
    check_study(run)
    file = _file(run)
    optuna.create_study(
        storage=file,
        study_name=STUDY_NAME,
        direction="maximize" if higher_is_better(metric) else "minimize",
        load_if_exists=True,
    )
    reader = StudyReader(run.study, STUDY_NAME, DATABASE_TIMEOUT_SECONDS)
    study = optuna.load_study(storage=StudyFile(file, reader), study_name=STUDY_NAME)
    # A launch that was killed right here is resumed by creating the study again.
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(space.default(), user_attrs={"origin": "reference"})
    return study


def open_study(run: RunDir) -> optuna.Study:
    """The run's study to read. Raises InputError if there is none yet, or if its file is damaged or locked."""
    none_yet = InputError(f"{run.study} holds no study yet: `hybridtune resume {run.name}` starts it")
    check_study(run)
    # Opened by Optuna, an unfinished file would get its tables: the launch that makes them right now would fail.
    if not has_study(run):
        raise none_yet
    return viewed(StudyView(run.study, STUDY_NAME, DATABASE_TIMEOUT_SECONDS))


def viewed(view: StudyView) -> optuna.Study:
    return optuna.load_study(storage=view, study_name=STUDY_NAME)


def watched_storage(run: RunDir) -> optuna.storages.BaseStorage | None:
    """The file for programs of others that only look: nothing can be changed through it. None if there is no study."""
    if not has_study(run):
        return None
    file = optuna.storages.RDBStorage(
        f"sqlite:///file:{quote(str(run.study))}?mode=ro&uri=true",
        engine_kwargs={"connect_args": {"timeout": WAIT_SECONDS}},
        skip_table_creation=True,
    )
    # Trials that have ended are read once.
    return optuna.storages.get_storage(file)


def ask(study: optuna.Study, space: Space, seed: int, sampler: str | MakeSampler = "tpe") -> Trial:
    """The next trial. sampler: see search.study.sampler.

    Its draw depends on the study's trials and on (seed, number) alone, so a search that was interrupted goes on
    with the same trials. A finite space gives no configuration twice as long as it has others.
    """
    storage = study._storage
    assert isinstance(storage, StudyMemory)
    trials = study.get_trials(deepcopy=False)
    number = len(trials) - [trial.state for trial in trials].count(TrialState.WAITING)
    waiting = number < len(trials)
    tried = set() if waiting or math.isinf(space.size()) else {_key(trial) for trial in trials}
    for attempt in range(SAMPLER_ATTEMPTS + RANDOM_ATTEMPTS):
        name = sampler if attempt < SAMPLER_ATTEMPTS else "random"
        study.sampler = make_sampler(name, space, ((seed + 7919 * attempt) * 1_000_003 + number) % 2**32)
        trial = _drawn(study.ask(), space)
        if _key(trial) not in tried:
            storage.keep(trial._trial_id)
            return trial
        storage.take_back(trial._trial_id)
    # Almost nothing is left: the first of it, or, if a warm start tried all, one of them again.
    left = (config for config in space.configurations() if frozenset(config.items()) not in tried)
    study.enqueue_trial(next(left, space.default()))
    return _drawn(study.ask(), space)


def reopen(study: optuna.Study, frozen: FrozenTrial, space: Space) -> Trial:
    """A trial that an earlier process asked for and never told. One from the queue may have been asked for in part."""
    assert frozen.state == TrialState.RUNNING
    return _drawn(Trial(study, frozen._trial_id), space)


def report_value(trial: Trial, iteration: int, objective: float) -> None:
    """Keeps the first value reported for an iteration; a resumed trial may repeat some."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*already reported.*")
        trial.report(objective, step=iteration)


def tell(study: optuna.Study, trial: Trial, state: TrialState, objective: float | None = None) -> None:
    """PRUNED takes the last reported value."""
    study.tell(trial, objective if state == TrialState.COMPLETE else None, state=state)


def state_of(trial: FrozenTrial) -> str:
    """For people and tables."""
    return WAITING if waits_at(trial) is not None else STATE_NAMES[trial.state]


def states(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """How many are in which state; that some wait is said only where some do."""
    return counted_states(Counter(map(state_of, trials)))


def counted_states(counted: Mapping[str, int]) -> dict[str, int]:
    """As `states`, of what is counted already."""
    shown = {name: counted.get(name, 0) for name in STATE_NAMES.values()}
    return shown | {WAITING: counted[WAITING]} if counted.get(WAITING) else shown


def started(study: optuna.Study) -> list[FrozenTrial]:
    """All trials of this search but those still in the queue, in order of number."""
    return of_search(study.get_trials(deepcopy=False))


def of_search(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """As `started`, of all trials of a study."""
    return list(filter(is_of_search, trials))


def is_of_search(trial: FrozenTrial) -> bool:
    """Whether it was begun by this search."""
    return trial.state != TrialState.WAITING and WARM_START not in trial.user_attrs


def best_first(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that may be finalists of a search that is over, the best first, one per distinct configuration: those
    that were trained to their end, and those that wait at a rung, by what they have reached there.
    """
    return list(ranked(started(study), study.direction, over=True))


def ranked(
    trials: Sequence[FrozenTrial], direction: optuna.study.StudyDirection, *, over: bool
) -> Iterator[FrozenTrial]:
    """As `best_first`, of trials that are at hand. over: whether the search is; until then nobody who waits is ranked,
    as he may be continued.
    """
    judged = [trial for trial in trials if trial.state == TrialState.COMPLETE or (over and waits_at(trial) is not None)]
    sign = -1 if direction == optuna.study.StudyDirection.MAXIMIZE else 1
    seen = set()
    for trial in sorted(judged, key=lambda t: (sign * (objective_of(t) or 0.0), t.number)):
        key = _key(trial)
        if key not in seen:
            seen.add(key)
            yield trial


def objective_of(trial: FrozenTrial) -> float | None:
    """Of a trial that has ended, or waits at a rung."""
    rung = waits_at(trial)
    return trial.value if rung is None else trial.intermediate_values[rung]


def configurations_tried(study: optuna.Study) -> int:
    """Distinct configurations that were begun, those of the runs from which a warm start learnt included."""
    return Tried()(study, study.get_trials(deepcopy=False))


class Tried:
    """As `configurations_tried`, for who asks again and again."""

    def __init__(self) -> None:
        self._until_ended = UntilEnded()
        self._earlier: set[frozenset[tuple[str, Any]]] = set()
        self._own: set[frozenset[tuple[str, Any]]] = set()

    def __call__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> int:
        """trials: all of the study."""
        ended, under_way = self._until_ended.look(trials)
        self._earlier |= {_key(trial) for trial in ended if WARM_START in trial.user_attrs}
        self._own |= {_key(trial) for trial in of_search(ended)}
        own = self._own | {_key(trial) for trial in of_search(under_way)}
        return int(study.user_attrs.get(EARLIER_CONFIGURATIONS, 0)) + len(own - self._earlier)


def _key(trial: Trial | FrozenTrial) -> frozenset[tuple[str, Any]]:
    return frozenset(trial.params.items())


def config_of(trial: Trial | FrozenTrial) -> Config:
    return dict(trial.params)


def _drawn(trial: Trial, space: Space) -> Trial:
    for name, dimension in space.dimensions.items():
        if space.active(name, trial.params):
            _suggest(trial, name, dimension)
    return trial


def _suggest(trial: Trial, name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choice):
        trial.suggest_categorical(name, dimension.choices)
    elif isinstance(dimension, Float):
        trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    else:
        trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step)


def study_url(run: RunDir) -> str:
    """Escaped: a path may hold what means something in a URL."""
    return URL.create("sqlite", database=str(run.study)).render_as_string(hide_password=False)


def _file(run: RunDir) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(
        study_url(run), engine_kwargs={"connect_args": {"timeout": DATABASE_TIMEOUT_SECONDS}}
    )
