"""Optuna's samplers by name, or a user's own."""

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from data.schema import InputError
from spaces.parameters import Space


def _tpe(space: Space, seed: int) -> BaseSampler:
    # A joint density needs trials that have the same dimensions; without groups those of a conditional space would be
    # drawn one at a time. Trials under way count as bad ones (constant liar), Optuna's default.
    return TPESampler(seed=seed, group=space.conditional)


def _random(space: Space, seed: int) -> BaseSampler:  # noqa: ARG001 one signature
    return RandomSampler(seed=seed)


def _gp(space: Space, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, warn_independent_sampling=not space.conditional)


SAMPLERS: Mapping[str, Callable[[Space, int], BaseSampler]] = {"tpe": _tpe, "random": _random, "gp": _gp}


def check_sampler(name: str) -> None:
    """Raises InputError if no sampler has this name, or if a user's own cannot be made."""
    make_sampler(name, Space("none", {}, {}), seed=0)


def make_sampler(name: str, space: Space, seed: int) -> BaseSampler:
    """name: one of SAMPLERS, or `module:function` of a module in the current folder or installed, whose function takes
    a seed and returns an Optuna sampler. A sampler is made for every trial, with a seed of its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
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
