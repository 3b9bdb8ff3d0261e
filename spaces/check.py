"""Whether a space holds possible configurations only, found out before a search begins."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from hybridtune.data.schema import InputError
from hybridtune.models.training.config import Budget
from hybridtune.spaces.parameters import Choice, Config, Float, Scalar, Space
from hybridtune.spaces.trial_config import Shape, trial_config

JOINT = ("hidden_size", "attention_heads", "positions")
"""Dimensions whose values must fit each other, whatever the others are."""


def check_space(space: Space, written: Mapping[str, str], shape: Shape) -> None:
    """Raises InputError unless every value that can be sampled makes a model: those of JOINT with each other, any
    other by itself, each in every architecture and under every condition.

    written: file and line of the dimensions that are not the shipped ones.
    """
    for group in (JOINT, *((name,) for name in space.dimensions if name not in JOINT)):
        varied = _with_conditions(space, ["architecture", *group])
        for params in _configurations(space, list(space.dimensions), varied, {}):
            try:
                trial_config(params, shape, Budget())
            except InputError as error:
                # The rule names what breaks it; where that was not written, it was what was varied.
                named = re.findall(r"\w+", str(error))
                where = next((written[name] for name in (*named, *group) if name in written), space.name)
                raise InputError(f"{where}: the space holds an impossible configuration: {error}") from None


def _with_conditions(space: Space, names: Sequence[str]) -> set[str]:
    """The dimensions with all that their existence depends on."""
    found: set[str] = set()
    left = [name for name in names if name in space.dimensions]
    while left:
        name = left.pop()
        found.add(name)
        left += space.dimensions[name].when
    return found


def _configurations(space: Space, names: Sequence[str], varied: Collection[str], params: Config) -> Iterator[Config]:
    """`params` completed by `names` in every way that matters, with default values where they are not varied."""
    if not names:
        yield params
        return
    name, *rest = names
    if not space.active(name, params):
        yield from _configurations(space, rest, varied, params)
        return
    for value in _telling(space, name) if name in varied else [space.dimensions[name].nearest(space.reference[name])]:
        yield from _configurations(space, rest, varied, params | {name: value})


def _telling(space: Space, name: str) -> Sequence[Scalar]:
    """Values of a dimension that would show any broken rule."""
    dimension = space.dimensions[name]
    if isinstance(dimension, Float):
        return (dimension.low, dimension.high)
    # Whether a number divides another can be told of each alone; the search ends at the first that does not.
    if isinstance(dimension, Choice) or name == "attention_heads":
        return dimension.values
    # What divides two neighbours of a stepped range divides their distance, so all of them.
    return tuple(dict.fromkeys([*dimension.values[:2], dimension.values[-1], *space.condition_values(name)]))
