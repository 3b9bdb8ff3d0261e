"""What the shipped spaces have in common, and how one is put together. The defaults are those of the guide."""

from collections.abc import Mapping

from spaces.parameters import Choice, Config, Dimension, Float, Int, Space

TRAINING: Mapping[str, Dimension] = {
    "hidden_size": Int(low=32, high=256, step=16),
    "dropout": Float(low=0.2, high=0.5),
    "scaling": Choice(choices=("standard", "robust", "quantile")),
    "learning_rate": Float(low=1e-4, high=1e-3, log=True),
    "weight_decay": Float(low=1e-4, high=1e-1, log=True),
    "batch_size": Choice(choices=(32, 64, 128, 256)),
    "class_weights": Choice(choices=("none", "auto")),
    # Of a single point each: a space file can widen them.
    "loss": Choice(choices=("cross_entropy",)),
    "schedule": Choice(choices=("cosine",)),
}
"""Dimensions that every architecture has."""

GUIDE: Config = {
    "hidden_size": 128,
    "dropout": 0.3,
    "scaling": "standard",
    "learning_rate": 5e-4,
    "weight_decay": 1e-2,
    "batch_size": 64,
    "class_weights": "none",
    "loss": "cross_entropy",
    "schedule": "cosine",
}

HEADS = Choice(choices=(2, 4, 8))
"""Each divides every hidden size above into heads of even size."""

POSITIONS = Choice(choices=("none", "sinusoidal", "learned", "rotary"))
HORIZON_HEADS = Choice(choices=("independent", "hierarchical"))


def architecture_space(name: str, architecture: str, own: Mapping[str, Dimension], guide: Config) -> Space:
    """own, guide: the dimensions that this architecture has beside the shared ones, and their defaults."""
    return Space(
        name=name,
        dimensions={"architecture": Choice(choices=(architecture,)), **own, **TRAINING},
        guide={"architecture": architecture} | guide | GUIDE,
    )
