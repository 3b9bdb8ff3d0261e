"""The training loop: an iteration at a time, stoppable and resumable between any two. Knows no Ray, no paths.

An iteration is `samples_per_iteration` anchors of the train slice, whatever the batch size, and ends with a
score on the frozen anchors of the tune slice.
"""

import copy
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridtune.data.batches import Batch, TrainingStream, anchor_batches, labels_at, made_ahead
from hybridtune.data.sample import spread
from hybridtune.data.schema import SliceName
from hybridtune.data.store import Anchors, Dataset
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.device import device_name
from hybridtune.models.hardware import Precision
from hybridtune.models.inference import forward, on_device, predict_batch
from hybridtune.models.loss_and_auc import loss_and_auc
from hybridtune.models.training.config import TrainConfig, higher_is_better
from hybridtune.models.training.loss import make_loss
from hybridtune.models.training.micro_batch import MicroBatch
from hybridtune.models.training.optimizer import make_optimizer, rate_share, set_learning_rate
from hybridtune.models.training.progress import Progress, is_best, is_finished
from hybridtune.models.training.steps import Steps

SERIES_PER_EVALUATION_BATCH = 8
ANCHORS_PER_EVALUATION_BATCH = 512
"""Small batches stay in cache: on a CPU they run faster per anchor than large ones."""


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the weights before it are kept."""


class AnyTraining(Protocol):
    """What a search trains: one model, or one for each walk-forward fold side by side."""

    history: list[Progress]

    @property
    def config(self) -> TrainConfig: ...

    @property
    def iteration(self) -> int: ...

    @property
    def runs_on(self) -> str:
        """Device and precision, for people."""

    @property
    def finished(self) -> bool:
        """The full budget is spent, or patience is."""

    def run_iteration(self) -> Progress:
        """Raises NonFiniteLossError if a loss or a prediction is not finite."""

    def return_to_best(self) -> None:
        """Gives up what has been learnt since the best iteration."""

    def widen(self) -> None:
        """There is more memory than the state knew of: as many anchors go through the model at once as at first."""

    def state(self) -> dict[str, Any]:
        """All that the next iteration needs: tensors, numbers, lists and dicts only."""

    def load_state(self, state: dict[str, Any]) -> None: ...


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
        rungs: Collection[int] = (),
    ) -> None:
        """rungs: iterations after which all frozen anchors are looked at, as after the last one."""
        self.model = model.to(device)
        self.config = config
        self.history: list[Progress] = []
        self._dataset = dataset
        self._seed = seed
        self._device = device
        self._precision = precision
        self._optimizer = make_optimizer(self.model, config.learning_rate, config.weight_decay)
        self._loss = make_loss(config.loss, config.class_weights, dataset)
        self._first_micro_batch = min(config.micro_batch or config.batch_size, config.batch_size)
        self._micro_batch = MicroBatch(self._first_micro_batch)
        self._stream = TrainingStream(dataset, seed, config.anchors_per_series)
        self._best_weights = copy.deepcopy(model.state_dict())
        self._rungs = rungs
        self._anchors = dataset.frozen_anchors("tune")
        self._seen = spread(self._anchors, config.tune_anchors)
        self._y_AH, self._seen_y_AH = labels_at(dataset, self._anchors), labels_at(dataset, self._seen)

    @property
    def iteration(self) -> int:
        return len(self.history)

    @property
    def runs_on(self) -> str:
        """Device and precision, for people."""
        return f"{device_name(self._device)} in {self._precision}"

    @property
    def finished(self) -> bool:
        """The full budget is spent, or patience is."""
        return is_finished(self.history, self.config)

    def run_iteration(self) -> Progress:
        """Raises NonFiniteLossError if a loss or a prediction is not finite; `best_weights` stay good."""
        started = time.perf_counter()
        progress = self.train_and_look()
        if is_best(self.history):
            self.keep()
        if self.decides(self.history):
            progress = replace(progress, objective_on_all=self.objective_on_all())
        self.history[-1] = replace(progress, seconds=time.perf_counter() - started)
        return self.history[-1]

    def train_and_look(self) -> Progress:
        """An iteration without its end: it is in the history, its weights are not kept, however good they are."""
        started = time.perf_counter()
        train_loss = self._train()
        loss, auc = self._look(self._seen, self._seen_y_AH, self.iteration + 1)
        value = auc if self.config.metric == "tune_auc" else loss
        best = max if higher_is_better(self.config.metric) else min
        progress = Progress(
            iteration=self.iteration + 1,
            samples=(self.iteration + 1) * self.config.samples_per_iteration,
            train_loss=train_loss,
            tune_loss=loss,
            tune_auc=auc,
            objective=best([value, *(before.objective for before in self.history[-1:])]),
            seconds=time.perf_counter() - started,
            micro_batch=self._micro_batch.anchors,
        )
        self.history.append(progress)
        return progress

    def keep(self) -> None:
        """What has been learnt so far is the best."""
        self._best_weights = copy.deepcopy(self.model.state_dict())

    def decides(self, history: Sequence[Progress]) -> bool:
        """Whether a search decides after the last iteration, and so all frozen anchors are to be looked at."""
        return len(history) in self._rungs or is_finished(history, self.config)

    @property
    def sees_all(self) -> bool:
        """Whether every iteration looks at all frozen anchors."""
        return len(self._seen) == len(self._anchors)

    def objective_on_all(self) -> float:
        """The metric of the kept weights on all frozen anchors."""
        if self.sees_all:
            return self.history[-1].objective
        now = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self._best_weights)
        loss, auc = self._look(self._anchors, self._y_AH, self.iteration)
        self.model.load_state_dict(now)
        return auc if self.config.metric == "tune_auc" else loss

    def best_weights(self) -> dict[str, Tensor]:
        """Of the iteration with the best metric."""
        return self._best_weights

    def return_to_best(self) -> None:
        """Gives up what the model has learnt since, which may not be finite."""
        self.model.load_state_dict(self._best_weights)

    def widen(self) -> None:
        self._micro_batch.anchors = self._first_micro_batch

    def state(self) -> dict[str, Any]:
        """Tensors, numbers, lists and dicts only: torch.load reads it with weights_only=True."""
        return {
            "model": self.model.state_dict(),
            "best_weights": self._best_weights,
            "optimizer": self._optimizer.state_dict(),
            "position": self._stream.position,
            "micro_batch": self._micro_batch.anchors,
            "history": [asdict(progress) for progress in self.history],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._best_weights = state["best_weights"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._stream.position = state["position"]
        # A worker that was lost for want of memory goes on with less than its checkpoint knows of.
        self._micro_batch.anchors = min(self._micro_batch.anchors, state["micro_batch"])
        self.history = [Progress(**progress) for progress in state["history"]]

    def _train(self) -> float:
        """One iteration's steps; the mean loss of its batches, weighted by their anchors."""
        self.model.train()
        config = self.config
        before, done, steps = self.iteration * config.samples_per_iteration, 0, Steps()
        objectives = [progress.objective for progress in self.history]
        batches = self._batches()
        # Dropout draws from torch's global generator: give it a stream of this iteration's own.
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence([self._seed, 2, self.iteration]).generate_state(1)[0]))
            for batch in batches if self._device.type == "cpu" else made_ahead(batches):
                share_done = (before + done) / (config.iterations * config.samples_per_iteration)
                share = rate_share(config.schedule, share_done, objectives, config.iterations)
                set_learning_rate(self._optimizer, config.learning_rate * share)
                anchors = int(batch.valid_MK.sum())
                steps.add(anchors, *self._step(batch))
                done += anchors
                if steps.due or done == config.samples_per_iteration:
                    self._refuse_not_finite(steps.look())
        return steps.mean_loss()

    def _batches(self) -> Iterator[Batch]:
        """Of one iteration."""
        left = self.config.samples_per_iteration
        while left > 0:
            anchors = min(self.config.batch_size, left)
            yield self._stream.take(anchors)
            left -= anchors

    def _look(self, anchors: Anchors, y_AH: NDArray[np.int8], iteration: int) -> tuple[float, float]:
        """Mean log loss and mean AUC."""
        # Where a batch did not fit in training, neither would more anchors here.
        lowered = self._micro_batch.anchors < self.config.batch_size
        micro_batch = MicroBatch(self._micro_batch.anchors) if lowered else None
        p_AH = predict_anchors(self.model, self._dataset, anchors, self._device, self._precision, micro_batch)
        if not np.isfinite(p_AH).all():
            raise NonFiniteLossError(f"a prediction after iteration {iteration} is not a number")
        return loss_and_auc(p_AH, y_AH)

    def _step(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """One step of the optimiser; the shares of the batch's parts in its mean loss, and the gradient's norm."""
        drawn_before = torch.random.get_rng_state()

        def accumulate(parts: list[Batch]) -> list[Tensor]:
            torch.random.set_rng_state(drawn_before)
            self._optimizer.zero_grad(set_to_none=True)
            known = int((batch.y_MKH >= 0).sum())
            return [self._accumulate(part, known) for part in parts]

        losses = self._micro_batch.run(batch, accumulate)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self._optimizer.step()
        return losses, norm

    def _refuse_not_finite(self, bad: tuple[float, float] | None) -> None:
        if bad is None:
            return
        loss, norm = bad
        remedy = "a lower learning_rate" + " or smaller class_weights" * isinstance(self.config.class_weights, tuple)
        raise NonFiniteLossError(
            f"loss {loss} with a gradient of norm {norm} in iteration {self.iteration + 1}: try {remedy}"
        )

    def _accumulate(self, part: Batch, known: int) -> Tensor:
        """Adds the part's share to the gradients; its share of the mean loss over the batch's known labels."""
        logits_MKH = forward(self.model, part, self._device, self._precision)
        loss = self._loss.summed(logits_MKH, on_device(part.y_MKH, self._device)) / known
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def predict_slice(
    model: nn.Module, dataset: Dataset, name: SliceName, device: torch.device, precision: Precision
) -> NDArray[np.float32]:
    """p_AH: probabilities at the frozen anchors of a slice, in their order."""
    return predict_anchors(model, dataset, dataset.frozen_anchors(name), device, precision)


def predict_anchors(
    model: nn.Module,
    dataset: Dataset,
    anchors: Anchors,
    device: torch.device,
    precision: Precision,
    micro_batch: MicroBatch | None = None,
) -> NDArray[np.float32]:
    """p_AH: probabilities at the anchors, in their order."""
    micro_batch = micro_batch or MicroBatch(ANCHORS_PER_EVALUATION_BATCH)

    def predict(parts: list[Batch]) -> NDArray[np.float32]:
        return np.concatenate([predict_batch(model, part, device, precision) for part in parts])

    batches = anchor_batches(dataset, anchors, SERIES_PER_EVALUATION_BATCH)
    return np.concatenate([micro_batch.run(batch, predict) for batch in batches])
