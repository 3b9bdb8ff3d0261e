"""The training loop: an iteration at a time, stoppable and resumable between any two. Knows no Ray, no paths.

An iteration is `samples_per_iteration` anchors of the train slice, whatever the batch size, and ends with a
look at the frozen anchors of the tune slice.
"""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.batches import Batch, TrainingStream, frozen_batches, frozen_labels
from data.schema import InputError, SliceName
from data.store import Dataset
from models.check import at_least
from models.device import Precision
from models.forecaster import Forecaster
from models.inference import forward, predict_batch
from models.loss import masked_cross_entropy
from models.metrics import all_metrics, mean_auc, mean_log_loss

SERIES_PER_EVALUATION_BATCH = 8
"""Small batches stay in cache: on a CPU they run faster per anchor than large ones."""


Metric = Literal["tune_loss", "tune_auc"]


def higher_is_better(metric: Metric) -> bool:
    return metric == "tune_auc"


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the weights before it are kept."""


@dataclass(frozen=True)
class TrainConfig:
    learning_rate: float = 5e-4
    """Peak of the schedule (AdamW, Loshchilov and Hutter 2019)."""
    weight_decay: float = 1e-2
    batch_size: int = 64
    """Anchors of one optimiser step."""
    iterations: int = 100
    samples_per_iteration: int = 8192
    """Anchors of one iteration."""
    patience: int = 15
    """Iterations without a better metric after which training ends."""
    metric: Metric = "tune_loss"
    """What says which iteration was the best."""
    anchors_per_series: int = 16
    """Anchors that share one pass over a series."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    warmup_share: float = 0.05
    """Share of all steps in which the learning rate rises to its peak; then a cosine lowers it."""
    final_learning_rate: float = 0.05
    """Share of the peak at which the cosine ends."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "iterations", "samples_per_iteration", "patience", "anchors_per_series"):
            at_least(name, getattr(self, name), 1)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if not self.gradient_clip > 0:
            raise InputError(f"gradient_clip must be above 0, got {self.gradient_clip}")


@dataclass(frozen=True)
class Progress:
    """What one iteration ended with. Losses are mean log losses in nats over the horizons."""

    iteration: int
    samples: int
    """Anchors seen since the start."""
    train_loss: float
    tune_loss: float
    tune_auc: float
    """Mean over the horizons."""
    objective: float
    """Best value of the metric so far; the weights that gave it are the ones kept."""
    seconds: float
    """Of this iteration."""


class Training:
    """One training of one model.

    `state` and `load_state` carry everything that the next iteration needs, so a training that was stopped ends
    with the same weights as one that never was.
    """

    def __init__(
        self,
        model: Forecaster,
        dataset: Dataset,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.model = model.to(device)
        self.config = config
        self.history: list[Progress] = []
        self._dataset = dataset
        self._seed = seed
        self._device = device
        self._precision = precision
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._stream = TrainingStream(dataset, seed, config.anchors_per_series)
        self._best_weights = copy.deepcopy(model.state_dict())

    @property
    def iteration(self) -> int:
        return len(self.history)

    @property
    def finished(self) -> bool:
        """The full budget is spent, or patience is."""
        return is_finished(self.history, self.config)

    def run_iteration(self) -> Progress:
        """Raises NonFiniteLossError if a loss or a prediction is not finite; `best_weights` stay good."""
        started = time.perf_counter()
        train_loss = self._train()
        predicted = predict_slice(self.model, self._dataset, "tune", self._device, self._precision)
        if not np.isfinite(predicted).all():
            raise NonFiniteLossError(f"a prediction after iteration {self.iteration + 1} is not a number")
        metrics = all_metrics(predicted, frozen_labels(self._dataset, "tune"))
        values = {"tune_loss": mean_log_loss(metrics), "tune_auc": mean_auc(metrics)}
        progress = Progress(
            iteration=self.iteration + 1,
            samples=(self.iteration + 1) * self.config.samples_per_iteration,
            train_loss=train_loss,
            tune_loss=values["tune_loss"],
            tune_auc=values["tune_auc"],
            objective=self._keep_if_best(values[self.config.metric]),
            seconds=time.perf_counter() - started,
        )
        self.history.append(progress)
        return progress

    def best_weights(self) -> dict[str, Tensor]:
        """Of the iteration with the best metric."""
        return self._best_weights

    def state(self) -> dict[str, Any]:
        """Tensors, numbers, lists and dicts only: torch.load reads it with weights_only=True."""
        return {
            "model": self.model.state_dict(),
            "best_weights": self._best_weights,
            "optimizer": self._optimizer.state_dict(),
            "position": self._stream.position,
            "history": [asdict(progress) for progress in self.history],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._best_weights = state["best_weights"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._stream.position = state["position"]
        self.history = [Progress(**progress) for progress in state["history"]]

    def _keep_if_best(self, value: float) -> float:
        """The best value of the metric so far."""
        if self.history:
            before = self.history[-1].objective
            better = value > before if higher_is_better(self.config.metric) else value < before
            if not better:
                return before
        self._best_weights = copy.deepcopy(self.model.state_dict())
        return value

    def _train(self) -> float:
        """One iteration's steps; the mean loss of its batches, weighted by their anchors."""
        self.model.train()
        config = self.config
        left, total = config.samples_per_iteration, 0.0
        # Dropout draws from torch's global generator: give it a stream of this iteration's own.
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([self._seed, 2, self.iteration]).generate_state(1)[0]))
            while left > 0:
                anchors = min(config.batch_size, left)
                done = self.iteration * config.samples_per_iteration + config.samples_per_iteration - left
                self._set_learning_rate(done / (config.iterations * config.samples_per_iteration))
                total += anchors * self._step(self._stream.take(anchors))
                left -= anchors
        return total / config.samples_per_iteration

    def _step(self, batch: Batch) -> float:
        logits_MKH = forward(self.model, batch, self._device, self._precision)
        loss = masked_cross_entropy(logits_MKH, torch.from_numpy(batch.y_MKH).to(self._device))
        value = loss.item()
        if not math.isfinite(value):
            raise NonFiniteLossError(f"loss {value} in iteration {self.iteration + 1}: try a lower learning_rate")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self._optimizer.step()
        return value

    def _set_learning_rate(self, share_done: float) -> None:
        rate = self.config.learning_rate * schedule(share_done, self.config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate


def is_finished(history: Sequence[Progress], config: TrainConfig) -> bool:
    """The full budget is spent, or the objective has not moved for `patience` iterations."""
    if not history:
        return False
    waited = sum(progress.objective == history[-1].objective for progress in history) - 1
    return len(history) >= config.iterations or waited >= config.patience


def schedule(share_done: float, config: TrainConfig) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine (Loshchilov and Hutter 2017, eq. 5)."""
    if share_done < config.warmup_share:
        return (share_done + 1e-3) / (config.warmup_share + 1e-3)
    turn = (share_done - config.warmup_share) / (1 - config.warmup_share)
    low = config.final_learning_rate
    return low + (1 - low) * (1 + math.cos(math.pi * turn)) / 2


def predict_slice(
    model: nn.Module, dataset: Dataset, name: SliceName, device: torch.device, precision: Precision
) -> NDArray[np.float32]:
    """p_AH: probabilities at the frozen anchors of a slice, in their order."""
    batches = frozen_batches(dataset, name, SERIES_PER_EVALUATION_BATCH)
    return np.concatenate([predict_batch(model, batch, device, precision) for batch in batches])
