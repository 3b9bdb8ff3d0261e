"""The finalists: the best configurations trained anew with several seeds, and the baselines beside them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from ray import tune
from safetensors.torch import save

from hybridtune.data.batches import frozen_labels
from hybridtune.models.architectures.registry import config_values
from hybridtune.models.metrics import all_metrics
from hybridtune.models.training.fit import predict_slice
from hybridtune.search.cluster.shared_dataset import share_dataset
from hybridtune.search.cluster.workers import Workers
from hybridtune.search.finalists.members import (
    FAILED,
    MEMBER,
    ChosenMembers,
    FailedMember,
    MemberDocument,
    MemberSpec,
    choose_members,
    failed_members,
    has_ended,
    members,
)
from hybridtune.search.run.run_dir import RunDir, member_name
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.study.study import best_first, open_study
from hybridtune.search.workers.callback import TrainingCallback
from hybridtune.search.workers.checkpoint import Attempt, Checkpoint, remove_checkpoints
from hybridtune.search.workers.placing import Placing
from hybridtune.search.workers.progress import describe
from hybridtune.search.workers.tasks import Retry, Tasks, run_tasks
from hybridtune.search.workers.trainable import (
    TrainingContext,
    identity,
    make_training,
    report_to_tune,
    train_to_end,
)
from hybridtune.spaces.parameters import Config
from hybridtune.spaces.trial_config import Shape


class RetrainingFailedError(RuntimeError):
    """A finalist lost its workers, or none could be trained."""


def retrain(run: RunDir, say: Say, workers: Workers) -> None:
    """Trains the members that are not there yet, each for the full schedule. One whose loss is not finite is left out.

    Raises RetrainingFailedError if a member was not trained to its end for another reason, or none is left.
    """
    settings = run.document().settings
    study = open_study(run)
    specs = choose_members(study, settings, Shape.of(run.open_dataset().info))
    ChosenMembers(members=tuple(specs)).write(run.chosen_members)
    missing = [spec for spec in specs if not has_ended(run, spec)]
    finalists = len(best_first(study))
    if finalists < settings.top_k:
        say(f"{finalists} of the {settings.top_k} finalists wanted are there: no more trials were trained to their end")
    say(f"retraining: {len(missing)} of {len(specs)} members, up to {settings.iterations} iterations each")
    if missing:
        workers.start(workers.at_once(settings))
        _train_members(run, settings, missing, say, workers)
        run.fetch_members()
    for spec in missing:
        if not has_ended(run, spec):
            raise RetrainingFailedError(f"member {spec.id} ({spec.origin}) could not be trained: resume tries it again")
    for spec in specs:
        # Of attempts that were given up and went on writing.
        remove_checkpoints(run.place, member_name(spec.id), run.document().epoch)
    if not members(run):
        raise RetrainingFailedError(f"no member could be trained: {failed_members(run)[0].failure}")


@dataclass(frozen=True)
class MemberTask:
    """One member, as a worker is handed it."""

    spec: MemberSpec
    micro_batch: int | None
    """How many anchors fitted into memory in an earlier attempt."""
    attempt: int
    """Ascending over all that the driver hands out."""
    alone: bool = False
    """Whether it did not fit into its part of a GPU, and has a whole one."""

    @property
    def name(self) -> str:
        return f"member {self.spec.id}"

    @property
    def params(self) -> Config:
        return self.spec.params

    def to_tune(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> Self:
        return cls(MemberSpec(**config["spec"]), config["micro_batch"], config["attempt"], config["alone"])


def train_member(config: dict[str, Any], context: TrainingContext) -> None:
    """A Tune function trainable: one member into its folder; member.json, or failed.json, is written last."""
    task = MemberTask.from_tune(config)
    spec = task.spec
    name = member_name(spec.id)
    dataset = context.dataset.open()
    training = make_training(context.fitting(task.micro_batch, alone=task.alone), spec.params, spec.seed, dataset)

    def report(report: TrialReport) -> None:
        if isinstance(report, Failed):
            failed = FailedMember(id=spec.id, origin=spec.origin, failure=report.reason)
            context.place.write(f"{name}/{FAILED}", failed.encode())
        report_to_tune(report)

    checkpoint = Checkpoint(
        context.place, name, identity(spec.params, spec.seed, context), Attempt(context.epoch, task.attempt)
    )
    if not train_to_end(training, checkpoint, context, report, alone=task.alone):
        return
    training.model.load_state_dict(training.best_weights())
    architecture, values = config_values(training.model.config)
    # Scores that are kept come from float32 on the CPU, as a user's prediction will.
    predicted = predict_slice(training.model.cpu(), dataset, "tune", torch.device("cpu"), "fp32")
    weights = save(training.best_weights())
    document = MemberDocument(
        id=spec.id,
        origin=spec.origin,
        params=spec.params,
        seed=spec.seed,
        architecture=architecture,
        model=values,
        curve=tuple(training.history),
        tune=all_metrics(predicted, frozen_labels(dataset, "tune")),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    context.place.write(f"{name}/{document.weights}", weights)
    # Two attempts may come to the end. Whichever is first, its document goes with its weights.
    context.place.create(f"{name}/{MEMBER}", document.encode())
    remove_checkpoints(context.place, name, context.epoch)


def _train_members(run: RunDir, settings: Settings, specs: list[MemberSpec], say: Say, workers: Workers) -> None:
    context = TrainingContext(
        run.place,
        share_dataset(run.open_dataset(), other_hosts=workers.other_hosts),
        settings.budget,
        settings.hardware,
        (),
        run.document().epoch,
    )
    tasks = MemberTasks(specs, lambda: workers.at_once(settings))
    run_tasks(
        tune.with_parameters(train_member, context=context),
        tasks,
        TrainingCallback(
            MemberTask.from_tune,
            tasks,
            MemberLines(len(specs), say),
            settings,
            workers,
            run.keeper,
            say,
        ),
        run.tune / "retrain",
        lambda trial: MemberTask.from_tune(trial.config).spec.id,
        Placing(settings.gpus_per_trial, workers.avoided),
    )


class MemberTasks(Tasks[MemberSpec]):
    """Hands out the members as MemberTasks."""

    def __init__(self, specs: list[MemberSpec], concurrent: Callable[[], int]) -> None:
        super().__init__(concurrent, list(specs))
        self._micro_batches: dict[str, int] = {}
        self._alone: set[str] = set()

    def _draw(self) -> None:
        return None

    def _undrawn(self) -> int:
        return 0

    def _config(self, task: MemberSpec, attempt: int) -> dict[str, Any]:
        return MemberTask(task, self._micro_batches.get(task.id), attempt, task.id in self._alone).to_tune()

    def _progress(self, task: MemberSpec, report: Progressed) -> None:
        """It keeps itself."""

    def _end(self, task: MemberSpec, last: TrialReport | None) -> None:
        """Its file says how."""

    def _retry(self, task: MemberSpec, retry: Retry) -> None:
        self._micro_batches[task.id] = retry.micro_batch
        if retry.alone:
            self._alone.add(task.id)

    def _fail(self, task: MemberSpec, reason: str) -> None:
        """It has no file, which says so."""


class MemberLines:
    """The listener of the retraining: lines for the terminal alone, as the members keep themselves."""

    def __init__(self, total: int, say: Say) -> None:
        self._total = total
        self._done = 0
        self._say = say

    def started(self, task: MemberTask) -> None:
        self._say(f"{task.name} starts: {describe(task.params)}")

    def progressed(self, task: MemberTask, report: Progressed) -> None:
        """The heartbeat says it."""

    def retried(self, task: MemberTask) -> None:
        """The callback says it."""

    def ended(self, task: MemberTask, last: TrialReport | None) -> None:
        self._done += 1
        self._say(f"{task.name} {_ending(last)}; {self._done} of {self._total} members")

    def lost(self, task: MemberTask, reason: str) -> None:
        self._say(f"{task.name} failed: {reason}")

    def tick(self) -> None:
        """Nothing to keep."""


def _ending(last: TrialReport | None) -> str:
    match last:
        case Failed():
            return f"is left out: {last.reason}"
        case Progressed():
            return f"done: {last.progress.decisive:.4f}"
        case None:
            # It was trained to its end before a stop, and only its file was missing.
            return "done"
