"""The one step from a flat sampled dict to the typed configuration of a training."""

from dataclasses import asdict, dataclass
from typing import Any

from data.schema import InputError
from models.architectures import ModelConfig, model_config
from models.fit import Metric, TrainConfig
from spaces.parameters import Config, Scalar

TRAINING_DIMENSIONS = ("learning_rate", "weight_decay", "batch_size")


@dataclass(frozen=True)
class Budget:
    """What every trial of a search may spend, the same for all."""

    iterations: int = 100
    samples_per_iteration: int = 8192
    patience: int = 15
    metric: Metric = "tune_loss"
    micro_batch: int | None = None


@dataclass(frozen=True)
class TrialConfig:
    model: ModelConfig
    train: TrainConfig


def trial_config(flat: Config, input_size: int, horizons: int, budget: Budget) -> TrialConfig:
    """Raises InputError naming rule and value if the values do not make a model or a training."""
    values: dict[str, Any] = dict(flat)
    architecture = str(values.pop("architecture", ""))
    training = {name: values.pop(name) for name in TRAINING_DIMENSIONS if name in values}
    if "windows" in values:
        values["windows"] = parse_windows(values["windows"])
    return TrialConfig(
        model=model_config(architecture, values | {"input_size": input_size, "horizons": horizons}),
        train=TrainConfig(
            **training,
            **asdict(budget),
        ),
    )


def parse_windows(text: Scalar) -> tuple[int, ...]:
    """(15, 60, 240) from `15/60/240`; a single window may be a number."""
    try:
        return tuple(int(part) for part in str(text).split("/"))
    except ValueError:
        raise InputError(f"windows must be minutes like 15/60/240, got {text!r}") from None
