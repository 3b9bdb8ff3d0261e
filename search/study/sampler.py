"""Optuna's samplers by name, or a user's own."""

import copy
import sys
import warnings
from collections.abc import Callable, Mapping
from heapq import nsmallest
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from hybridtune.data.schema import InputError
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.latest_sampler import LatestSampler
from hybridtune.search.study.rungs import waits_at
from hybridtune.spaces.parameters import Space

LATEST, BEST = 500, 25
"""Trials that TPE learns from: the latest, and of those before them the best, as many as it ever counts as good."""


class SpaceTPESampler(TPESampler):
    """Optuna's TPE. Trials under way count as bad ones (constant liar), its default."""

    def __init__(self, space: Space, seed: int) -> None:
        # A joint density needs trials that have the same dimensions; without groups those of a conditional space would
        # be drawn one at a time.
        super().__init__(seed=seed, group=space.conditional)
        self._own = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Known here; Optuna compares the distributions of all trials to find it, more work than the draw."""
        if self._own.conditional:
            return super().infer_relative_search_space(study, trial)
        distributions = {name: distribution(dimension) for name, dimension in sorted(self._own.dimensions.items())}
        return {name: found for name, found in distributions.items() if not found.single()}

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # A study as far as this method asks: for its trials and its direction.
        return super()._sample(_Lately(study), trial, search_space)  # type: ignore[arg-type]


class _Lately:
    """A study of which only the best trials and the latest are known, so that a draw costs no more the longer a
    search goes on. TPE tells the best ones from the rest, and among the rest it gives the old ones hardly any weight.
    Those that wait at a rung are known as stopped there: TPE learns nothing from what is under way.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, **asked: Any) -> list[FrozenTrial]:
        trials = self._study._get_trials(**asked)
        sign = -1 if self._study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        earlier = [trial for trial in trials[:-LATEST] if trial.state == TrialState.COMPLETE]
        best = nsmallest(BEST, earlier, key=lambda trial: sign * (trial.value or 0.0))
        return [*best, *map(_stopped, trials[-LATEST:])]


def _stopped(trial: FrozenTrial) -> FrozenTrial:
    if waits_at(trial) is None:
        return trial
    stopped = copy.copy(trial)
    stopped.state = TrialState.PRUNED
    return stopped


def _random(space: Space, seed: int) -> BaseSampler:  # noqa: ARG001 one signature
    return RandomSampler(seed=seed)


def _gp(space: Space, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, warn_independent_sampling=not space.conditional)


MakeSampler = Callable[[Space, int], BaseSampler]
"""From a space and a seed."""
SAMPLERS: Mapping[str, MakeSampler] = {"tpe": SpaceTPESampler, "random": _random, "gp": _gp, "latest": LatestSampler}


def check_sampler(name: str) -> None:
    """Raises InputError if no sampler has this name, or if a user's own cannot be made."""
    make_sampler(name, Space("none", {}, {}), seed=0)


def make_sampler(name: str | MakeSampler, space: Space, seed: int) -> BaseSampler:
    """name: one of SAMPLERS, what makes a sampler, or `module:function` of a module in the current folder or installed,
    whose function takes a seed and returns an Optuna sampler. A sampler is made for every trial, with a seed of its
    own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if not isinstance(name, str):
            return name(space, seed)
        return SAMPLERS[name](space, seed) if name in SAMPLERS else _own(name, seed)


def _own(name: str, seed: int) -> BaseSampler:
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"sampler must be one of {', '.join(SAMPLERS)} or a function as module:name, got {name!r}")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        sampler = getattr(import_module(module), function)(seed)
    except (ImportError, AttributeError, TypeError, SyntaxError, ValueError) as error:
        raise InputError(f"sampler {name!r} cannot be made: {error}") from None
    if not isinstance(sampler, BaseSampler):
        raise InputError(f"sampler {name!r} must return an Optuna sampler, got {type(sampler).__name__}")
    return sampler
