"""Every architecture by its name."""

import dataclasses
from typing import Any

import torch
from torch import nn

from data.schema import InputError
from models.basic_lstm import BasicLSTM
from models.hybrid_lstm import HybridLSTM

ARCHITECTURES = {"basic_lstm": BasicLSTM, "hybrid_lstm": HybridLSTM}
"""Each takes its Config and has forward(x_MTF, length_M, anchor_MK) -> logits_MKH."""

ModelConfig = BasicLSTM.Config | HybridLSTM.Config


def model_config(architecture: str, values: dict[str, Any]) -> ModelConfig:
    """Raises InputError naming the rule and the value if the values do not make a model."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    config = ARCHITECTURES[architecture].Config
    known = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"{architecture} has no parameter {unknown[0]!r}: it has {', '.join(sorted(known))}")
    return config(**values)


def build_model(config: ModelConfig, seed: int) -> nn.Module:
    """A fresh model; the same seed gives the same weights and leaves torch's generator as it was."""
    (model,) = [cls for cls in ARCHITECTURES.values() if isinstance(config, cls.Config)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model(config)  # type: ignore[arg-type]
