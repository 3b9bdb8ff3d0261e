"""What runs in a Tune worker: one training, with a checkpoint that survives the worker."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from ray import tune

from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.device import free_memory, limit_gpu_memory, pick, use_one_core
from hybridtune.models.hardware import Hardware
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import AnyTraining, NonFiniteLossError, Training
from hybridtune.models.training.folds import FoldedTraining
from hybridtune.models.training.progress import is_finished
from hybridtune.search.cluster.shared_dataset import SharedDataset
from hybridtune.search.run.place import Place
from hybridtune.search.run.run_dir import trial_name
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.workers.checkpoint import Attempt, Checkpoint
from hybridtune.spaces.parameters import Config
from hybridtune.spaces.trial_config import Shape, trial_config

CHECKPOINT_SECONDS = 20.0
"""At most so much training is lost with a worker; an iteration that takes longer is saved each time."""
CHECKPOINT_SHARE = 0.05
"""Shorter ones are too, as long as saving takes no more of the time than this."""


@dataclass(frozen=True)
class TrainingContext:
    """What all trials of a stage have in common."""

    place: Place
    dataset: SharedDataset
    budget: Budget
    hardware: Hardware
    rungs: tuple[int, ...]
    """Iterations after which the search may stop a trial: there it is judged by all frozen anchors, and saved."""
    epoch: int = 1
    """Of the run's driver."""

    def fitting(self, anchors: int | None, *, alone: bool = False) -> Self:
        """The same for a training that is known to fit so many anchors only. alone: it has a whole GPU for itself."""
        return replace(
            self,
            budget=replace(self.budget, micro_batch=anchors or self.budget.micro_batch),
            hardware=replace(self.hardware, gpus=1.0) if alone else self.hardware,
        )


@dataclass(frozen=True)
class TrialTask:
    """One trial of the search, as a worker is handed it."""

    number: int
    params: Config
    reported: int
    """How many of its iterations the study knows already."""
    micro_batch: int | None
    """How many anchors fitted into memory then; None where that is not known."""
    attempt: int
    """Ascending over all that the driver hands out."""
    alone: bool = False
    """Whether it did not fit into its part of a GPU, and has a whole one."""

    @property
    def name(self) -> str:
        return f"trial {self.number}"

    def to_tune(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)


def run_trial(config: dict[str, Any], context: TrainingContext, seed: int) -> None:
    """A Tune function trainable: one TrialTask, one report an iteration.

    Every trial of a search has the same seed: the same draws of anchors for all, so that what differs between
    two trials is their configuration.
    """
    stopped = False
    try:
        _train(TrialTask.from_tune(config), context, seed)
    except SystemExit:
        # Tune's way to end a trial that its scheduler stopped.
        stopped = True
    # Others may need the memory while this worker waits for its next trial. After the handler, not in it: there the
    # exception's traceback still holds the training.
    free_memory()
    if stopped:
        raise SystemExit


def _train(task: TrialTask, context: TrainingContext, seed: int) -> None:
    training = folded_training(context.fitting(task.micro_batch, alone=task.alone), task.params, seed)
    checkpoint = Checkpoint(
        context.place,
        trial_name(task.number),
        identity(task.params, seed, context),
        Attempt(context.epoch, task.attempt),
    )
    # The last iteration that the study knows is reported again: its rung may not have been decided.
    train_to_end(training, checkpoint, context, report_to_tune, max(task.reported - 1, 0), alone=task.alone)


def folded_training(context: TrainingContext, params: Config, seed: int) -> AnyTraining:
    """What a search scores: a training on each walk-forward fold of the dataset, mostly one."""
    folds = context.dataset.open().folds()
    trainings = [make_training(context, params, seed, fold) for fold in folds]
    return trainings[0] if len(trainings) == 1 else FoldedTraining(trainings)


def make_training(context: TrainingContext, params: Config, seed: int, dataset: Dataset) -> Training:
    use_one_core()
    config = trial_config(params, Shape.of(dataset.info), context.budget)
    model = build_model(config.model, seed)
    model.scaling.fit(train_bars(dataset))
    device, precision = pick(context.hardware)
    limit_gpu_memory(device, context.hardware.gpus)
    return Training(model, dataset, config.train, seed, device, precision, context.rungs)


def identity(params: Config, seed: int, context: TrainingContext) -> str:
    """A digest of all that decides what a training is, but for its hardware and its micro-batch."""
    budget = replace(context.budget, micro_batch=None)
    dataset = context.dataset.open().info.fingerprint
    text = json.dumps([dict(sorted(params.items())), seed, asdict(budget), dataset])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train_to_end(
    training: AnyTraining,
    checkpoint: Checkpoint,
    context: TrainingContext,
    report: Callable[[TrialReport], None],
    reported: int = 0,
    *,
    alone: bool = False,
) -> bool:
    """Goes on from the checkpoint, if there is one, and reports every iteration after the first `reported`. alone: what
    the checkpoint came down to, maybe in its part of a GPU, says nothing of the whole that it has now.

    Returns whether the training reached its end; False if its loss was not finite, which is reported too, and the
    checkpoint holds the best weights from before.
    """
    if checkpoint.load(training):
        if alone:
            training.widen()
        for iteration in range(reported + 1, training.iteration + 1):
            report(report_of(training, iteration))
    saved, cost = time.monotonic(), 0.0
    while not training.finished:
        try:
            training.run_iteration()
        except NonFiniteLossError as error:
            if training.history:
                training.return_to_best()
                checkpoint.save(training)
            report(Failed(training.iteration + 1, str(error), training.runs_on))
            return False
        ended = time.monotonic()
        due = ended - saved >= min(CHECKPOINT_SECONDS, cost / CHECKPOINT_SHARE)
        if due or training.finished or training.iteration in context.rungs:
            checkpoint.save(training)
            saved = time.monotonic()
            cost = saved - ended
        if training.iteration > reported:
            report(report_of(training, training.iteration))
    return True


def report_of(training: AnyTraining, iteration: int) -> Progressed:
    """What an iteration of the training's history ended with, as it was reported then."""
    history = training.history[:iteration]
    return Progressed(history[-1], is_finished(history, training.config), training.runs_on)


def report_to_tune(report: TrialReport) -> None:
    tune.report(report.to_tune())
