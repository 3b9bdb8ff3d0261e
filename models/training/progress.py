"""What an iteration ended with, and when a training ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybridtune.models.training.config import Budget


@dataclass(frozen=True)
class Progress:
    """What one iteration ended with. Losses are mean log losses in nats over the horizons."""

    iteration: int
    samples: int
    """Anchors seen since the start."""
    train_loss: float
    """In the training's own loss: weighted or focal where it is configured so."""
    tune_loss: float
    tune_auc: float
    """Mean over the horizons."""
    objective: float
    """Best value of the metric so far; the weights that gave it are the ones kept."""
    seconds: float
    """Of this iteration."""
    micro_batch: int
    """Anchors that went through the model at once; below the batch size where memory ran out."""


def is_finished(history: Sequence[Progress], budget: Budget) -> bool:
    """The full budget is spent, or the objective has not moved for `patience` iterations."""
    if not history:
        return False
    waited = sum(progress.objective == history[-1].objective for progress in history) - 1
    return len(history) >= budget.iterations or waited >= budget.patience
