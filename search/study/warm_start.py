"""What an earlier run learnt, given to the study of a new one.

Its completed trials are added to the study, where the sampler learns from them. They are no trials of this search: it
does not count, rank or retrain them. The best of them is the first configuration that is tried after the default.
"""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.study import (
    EARLIER_CONFIGURATIONS,
    WARM_START,
    best_first,
    config_of,
    configurations_tried,
    open_study,
    started,
)

SAME = ("horizons", "metric", "iterations", "samples_per_iteration", "patience")
"""Settings that decide what an objective means."""


def check_warm_start(path: Path, settings: Settings, fingerprint: str) -> None:
    """Raises InputError unless the run at `path` has completed trials that could be trials of a run so set."""
    earlier = RunDir.open(path)
    document = earlier.document()
    if document.dataset_fingerprint != fingerprint:
        raise InputError(
            f"{path} searched dataset {document.dataset_fingerprint}, this one is {fingerprint}: what it learnt does "
            "not hold here"
        )
    for name in SAME:
        before, now = getattr(document.settings, name), getattr(settings, name)
        if before != now:
            raise InputError(f"{path} was run with {name} {before}, this search with {now}: make them equal")
    for trial in [*completed(earlier), best(earlier)]:
        try:
            settings.space.check_inside(config_of(trial))
        except InputError as error:
            raise InputError(f"trial {trial.number} of {path} does not fit this search's space: {error}") from None


def completed(run: RunDir) -> list[FrozenTrial]:
    """Raises InputError if there are none."""
    trials = [trial for trial in started(open_study(run)) if trial.state == TrialState.COMPLETE]
    if not trials:
        raise InputError(f"{run.path} has no completed trial to start from")
    return trials


def best(run: RunDir) -> FrozenTrial:
    """The one that is tried first; under promotion it may wait at a rung."""
    return best_first(open_study(run))[0]


def warm_start(study: optuna.Study, settings: Settings) -> None:
    """Adds them once; a launch that was killed in the middle of it goes on there."""
    assert settings.warm_start is not None
    if WARM_START in study.user_attrs:
        # All of them are there: the earlier run is not needed any more, and may have moved.
        return
    earlier = RunDir.open(settings.warm_start)
    there = {trial.user_attrs.get(WARM_START) for trial in study.get_trials(deepcopy=False)}
    first = config_of(best(earlier))
    if first != settings.space.default():
        study.enqueue_trial(first, user_attrs={"origin": "warm start"}, skip_if_exists=True)
    for trial in completed(earlier):
        if trial.number not in there:
            study.add_trial(_of_this_space(trial, settings))
    study.set_user_attr(EARLIER_CONFIGURATIONS, configurations_tried(open_study(earlier)))
    study.set_user_attr(WARM_START, str(settings.warm_start))


def _of_this_space(trial: FrozenTrial, settings: Settings) -> FrozenTrial:
    params = config_of(trial)
    return create_trial(
        params=params,
        distributions={name: distribution(settings.space.dimensions[name]) for name in params},
        value=trial.value,
        intermediate_values=trial.intermediate_values,
        user_attrs={WARM_START: trial.number},
    )
