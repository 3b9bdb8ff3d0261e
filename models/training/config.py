"""What a training spends and how it learns. Needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from hybridtune.data.schema import InputError, at_least, check_choice

Metric = Literal["tune_loss", "tune_auc"]
"""What says which iteration, and which trial, is the best."""
Schedule = Literal["cosine", "plateau"]
"""How the learning rate falls after its warm-up."""
LossName = Literal["cross_entropy", "focal"]
ClassWeights = Literal["none", "auto"] | tuple[float, ...]
"""Of label 1 against label 0: none, auto (from the train slice), or a weight for each horizon."""


def higher_is_better(metric: Metric) -> bool:
    return metric == "tune_auc"


@dataclass(frozen=True)
class Budget:
    """What every trial of a search may spend, the same for all."""

    iterations: int = 100
    samples_per_iteration: int = 8192
    """Anchors of one iteration."""
    patience: int = 15
    """Iterations without a better metric after which training ends."""
    metric: Metric = "tune_loss"
    tune_anchors: int = 4096
    """Frozen anchors of tune, the same ones each time, by which an iteration is judged. Where a search decides, at its
    rungs and at the end of a trial, it is by all of them.
    """
    micro_batch: int | None = None
    """Anchors that go through the model at once; None: the whole batch. Halved when memory runs out."""

    def __post_init__(self) -> None:
        for name in ("iterations", "samples_per_iteration", "patience", "tune_anchors"):
            at_least(name, getattr(self, name), 1)
        if self.micro_batch is not None:
            at_least("micro_batch", self.micro_batch, 1)
        check_choice("metric", self.metric, get_args(Metric))


@dataclass(frozen=True)
class TrainConfig(Budget):
    learning_rate: float = 5e-4
    """Peak of the schedule; models.training.optimizer says what share of it each component gets."""
    weight_decay: float = 1e-2
    batch_size: int = 64
    """Anchors of one optimiser step."""
    schedule: Schedule = "cosine"
    loss: LossName = "cross_entropy"
    class_weights: ClassWeights = "none"
    anchors_per_series: int = 16
    """Anchors that share one pass over a series."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "anchors_per_series"):
            at_least(name, getattr(self, name), 1)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if not self.gradient_clip > 0:
            raise InputError(f"gradient_clip must be above 0, got {self.gradient_clip}")
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_choice("loss", self.loss, get_args(LossName))
        _check_class_weights(self.class_weights)


def _check_class_weights(class_weights: str | Sequence[float]) -> None:
    if isinstance(class_weights, str):
        if class_weights not in ("none", "auto"):
            raise InputError(f"class_weights must be none, auto or a weight for each horizon, got {class_weights!r}")
    elif not all(0 < weight < float("inf") for weight in class_weights):
        raise InputError(f"class_weights must be above 0 and finite, got {class_weights}")
