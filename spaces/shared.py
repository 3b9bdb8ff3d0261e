"""What the shipped spaces have in common, and how one is put together.

The default of a dimension is the default of the configuration field of the same name. Together they are the reference
configuration, with which every search begins.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from hybridtune.models.architectures.config import HorizonHeadsName, PositionsName, ScalingName
from hybridtune.models.architectures.registry import ARCHITECTURES
from hybridtune.models.training.config import TrainConfig
from hybridtune.spaces.parameters import Choice, Config, Dimension, Float, Int, Space

TRAINING: Mapping[str, Dimension] = {
    "hidden_size": Int(low=32, high=256, step=16),
    "dropout": Float(low=0.2, high=0.5),
    "scaling": Choice(choices=get_args(ScalingName)),
    "learning_rate": Float(low=1e-4, high=1e-3, log=True),
    "weight_decay": Float(low=1e-4, high=1e-1, log=True),
    "batch_size": Choice(choices=(32, 64, 128, 256)),
    "class_weights": Choice(choices=("none", "auto")),
    # Of a single point each: a space file can widen them.
    "anchors_per_series": Choice(choices=(16,)),
    "loss": Choice(choices=("cross_entropy",)),
    "schedule": Choice(choices=("cosine",)),
}
"""Dimensions that every architecture has."""

HEADS = Choice(choices=(2, 4, 8))
"""Each divides every hidden size above into heads of even size."""

POSITIONS = Choice(choices=get_args(PositionsName))
HORIZON_HEADS = Choice(choices=get_args(HorizonHeadsName))
WINDOW_RUNS = Choice(choices=("shared",))
"""Of a single point, as the ones above: a space file can widen it."""


def architecture_space(name: str, architecture: str, own: Mapping[str, Dimension]) -> Space:
    """own: the dimensions that this architecture has beside the shared ones."""
    return Space(
        name=name,
        dimensions={"architecture": Choice(choices=(architecture,)), **own, **TRAINING},
        reference={"architecture": architecture, **defaults(architecture, {**own, **TRAINING})},
    )


def defaults(architecture: str, names: Mapping[str, Dimension]) -> Config:
    """The defaults of these dimensions, as a space writes them."""
    known: dict[str, Any] = {}
    for config in (ARCHITECTURES[architecture].Config, TrainConfig):
        known |= {field.name: field.default for field in fields(config)}
    return {name: _scalar(known[name]) for name in names}


def _scalar(value: Any) -> Any:
    return "/".join(map(str, value)) if isinstance(value, tuple) else value
