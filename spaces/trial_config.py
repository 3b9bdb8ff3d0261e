"""The one step from a flat sampled dict to the typed configuration of a training."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from hybridtune.data.features import FEATURE_NAMES
from hybridtune.data.info import DatasetInfo
from hybridtune.data.schema import DEFAULT_EXPANDING_MAX, DEFAULT_HORIZONS, InputError
from hybridtune.models.architectures.registry import ModelConfig, model_config
from hybridtune.models.training.config import Budget, TrainConfig
from hybridtune.spaces.parameters import Config, Scalar

TRAINING_DIMENSIONS = (
    *("learning_rate", "weight_decay", "batch_size", "anchors_per_series"),
    *("loss", "class_weights", "schedule"),
)


@dataclass(frozen=True)
class Shape:
    """What the data asks of every model; the defaults are those of `prepare`."""

    input_size: int = len(FEATURE_NAMES)
    horizons: int = len(DEFAULT_HORIZONS)
    history: int = DEFAULT_EXPANDING_MAX
    """Most bars of a series."""

    @classmethod
    def of(cls, info: DatasetInfo) -> Self:
        return cls(len(info.features), len(info.horizons), info.expanding_max)


@dataclass(frozen=True)
class TrialConfig:
    model: ModelConfig
    train: TrainConfig


def trial_config(params: Config, shape: Shape, budget: Budget) -> TrialConfig:
    """Raises InputError naming rule and value if the values do not make a model or a training."""
    values: dict[str, Any] = dict(params)
    architecture = str(values.pop("architecture", ""))
    training = {name: values.pop(name) for name in TRAINING_DIMENSIONS if name in values}
    if "windows" in values:
        values["windows"] = parse_windows(values["windows"])
    if "class_weights" in training:
        training["class_weights"] = parse_class_weights(training["class_weights"], shape.horizons)
    return TrialConfig(
        model=model_config(architecture, values | asdict(shape)),
        train=TrainConfig(**training, **asdict(budget)),
    )


def parse_windows(text: Scalar) -> tuple[int, ...]:
    """(15, 60, 240) from `15/60/240`; a single window may be a number."""
    try:
        return tuple(int(part) for part in str(text).split("/"))
    except ValueError:
        raise InputError(f"windows must be minutes like 15/60/240, got {text!r}") from None


def parse_class_weights(text: Scalar, horizons: int) -> str | tuple[float, ...]:
    """A word as it is; (1.0, 2.5) from `1/2.5`, a weight for each horizon."""
    if text in ("none", "auto"):
        return str(text)
    try:
        weights = tuple(float(part) for part in str(text).split("/"))
    except ValueError:
        raise InputError(f"class_weights must be none, auto or weights like 1/2.5, got {text!r}") from None
    if len(weights) != horizons:
        raise InputError(f"class_weights must be one weight for each of the {horizons} horizons, got {text!r}")
    return weights
