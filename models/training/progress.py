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
    """On `Budget.tune_anchors` of the frozen anchors, as tune_auc and objective."""
    tune_auc: float
    """Mean over the horizons."""
    objective: float
    """Best value of the metric so far; the weights that gave it are the ones kept."""
    seconds: float
    """Of this iteration."""
    micro_batch: int
    """Anchors that went through the model at once; below the batch size where memory ran out."""
    objective_on_all: float | None = None
    """The metric of the kept weights on all frozen anchors; None where that was not looked at."""

    @property
    def decisive(self) -> float:
        """What a search decides by: the objective, on all frozen anchors where that is known."""
        return self.objective if self.objective_on_all is None else self.objective_on_all


def is_best(history: Sequence[Progress]) -> bool:
    """Whether the last iteration is better than all before it."""
    return len(history) == 1 or history[-1].objective != history[-2].objective


def best_place(history: Sequence[Progress]) -> int:
    """Where the best iteration stands: the last one after which `is_best` held."""
    return next(place for place, progress in enumerate(history) if progress.objective == history[-1].objective)


def is_finished(history: Sequence[Progress], budget: Budget) -> bool:
    """The full budget is spent, or the objective has not moved for `patience` iterations."""
    if not history:
        return False
    waited = sum(progress.objective == history[-1].objective for progress in history) - 1
    return len(history) >= budget.iterations or waited >= budget.patience
