"""Every architecture by its name."""

import dataclasses
from typing import Any

import torch

from hybridtune.data.schema import InputError
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.tcn import TCN
from hybridtune.models.architectures.transformer import Transformer

ARCHITECTURES: dict[str, type[Forecaster]] = {
    "basic_lstm": BasicLSTM,
    "hybrid_lstm": HybridLSTM,
    "transformer": Transformer,
    "tcn": TCN,
}
"""Each is made from its own Config."""

ModelConfig = BasicLSTM.Config | HybridLSTM.Config | Transformer.Config | TCN.Config


def model_config(architecture: str, values: dict[str, Any]) -> ModelConfig:
    """Raises InputError naming the rule and the value if the values do not make a model."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    config = ARCHITECTURES[architecture].Config
    known = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"{architecture} has no parameter {unknown[0]!r}: it has {', '.join(sorted(known))}")
    typed: ModelConfig = config(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    return typed


def config_values(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """(architecture, values) from which `model_config` makes the same configuration; plain JSON types."""
    (architecture,) = [name for name, cls in ARCHITECTURES.items() if isinstance(config, cls.Config)]
    values = dataclasses.asdict(config)
    return architecture, {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def build_model(config: ModelConfig, seed: int) -> Forecaster:
    """A fresh model; the same seed gives the same weights and leaves torch's generator as it was."""
    (model,) = [cls for cls in ARCHITECTURES.values() if isinstance(config, cls.Config)]
    # Built on the CPU: to fork the GPUs' generators too would start CUDA in processes that have no business there.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(config)
