"""The finalists: the best configurations trained anew with several seeds, and the baselines beside them."""

from dataclasses import asdict
from typing import Any

import torch
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from safetensors.torch import save

from data.batches import frozen_labels
from data.document import write_atomically
from models.architectures import config_values
from models.fit import predict_slice
from models.metrics import all_metrics
from search.cluster import Workers
from search.console import Say
from search.members import (
    FAILED,
    MEMBER,
    WEIGHTS,
    FailedMember,
    MemberDocument,
    MemberSpec,
    failed_members,
    has_ended,
    members,
    wanted_members,
)
from search.recorder import HardwareLines, Heartbeat, describe
from search.retries import Retries, last_failure, raised
from search.run_dir import RunDir, Settings
from search.sharing import share_dataset
from search.study import best_first, open_study
from search.tasks import Tasks, run_tasks
from search.trainable import CHECKPOINT, AnyTraining, Work, make_training, report_of, train_to_end


class RetrainingFailedError(RuntimeError):
    """A finalist lost its workers, or none could be trained."""


def retrain(run: RunDir, say: Say, workers: Workers) -> None:
    """Trains the members that are not there yet, each for the full schedule. One whose loss is not finite is left out.

    Raises RetrainingFailedError if a member was not trained to its end for another reason, or none is left.
    """
    settings = run.document().settings
    specs = wanted_members(run)
    missing = [spec for spec in specs if not has_ended(run, spec)]
    finalists = len(best_first(open_study(run)))
    if finalists < settings.top_k:
        say(f"{finalists} of the {settings.top_k} finalists wanted are there: no more trials were trained to their end")
    say(f"retraining: {len(missing)} of {len(specs)} members, up to {settings.iterations} iterations each")
    if missing:
        workers.start()
        _train_members(run, settings, missing, say)
    for spec in missing:
        if not has_ended(run, spec):
            raise RetrainingFailedError(f"member {spec.id} ({spec.origin}) could not be trained: resume tries it again")
    if not members(run):
        raise RetrainingFailedError(f"no member could be trained: {failed_members(run)[0].failure}")


def train_member(config: dict[str, Any], work: Work) -> None:
    """A Tune function trainable: one member into its folder; member.json, or failed.json, is written last."""
    spec = MemberSpec(**config["member"])
    folder = work.run.member(spec.id)
    dataset = work.dataset.open()
    training = make_training(work.with_micro_batch(config["micro_batch"]), spec.flat, spec.seed, dataset)

    def report(training: AnyTraining, failure: str | None) -> None:
        if failure is not None:
            folder.mkdir(exist_ok=True)
            FailedMember(id=spec.id, origin=spec.origin, failure=failure).write(folder / FAILED)
        tune.report(report_of(training, failure))

    if not train_to_end(training, folder, work, report):
        return
    training.model.load_state_dict(training.best_weights())
    architecture, values = config_values(training.model.config)
    # Scores that are kept come from float32 on the CPU, as a user's prediction will.
    predicted = predict_slice(training.model.cpu(), dataset, "tune", torch.device("cpu"), "fp32")
    write_atomically(folder / WEIGHTS, save(training.best_weights()))
    MemberDocument(
        id=spec.id,
        origin=spec.origin,
        flat=spec.flat,
        seed=spec.seed,
        architecture=architecture,
        model=values,
        curve=tuple(training.history),
        tune=all_metrics(predicted, frozen_labels(dataset, "tune")),
    ).write(folder / MEMBER)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _train_members(run: RunDir, settings: Settings, specs: list[MemberSpec], say: Say) -> None:
    work = Work(run, share_dataset(run.open_dataset()), settings.budget, settings.hardware, ())
    members_left = _Members(specs, settings.concurrent)
    run_tasks(
        tune.with_parameters(train_member, work=work),
        members_left,
        _MemberLines(settings, members_left, len(specs), say),
        run.path / "tune" / "retrain",
        lambda trial: str(trial.config["member"]["id"]),
        settings.gpus_per_trial,
    )


class _Members(Tasks[MemberSpec]):
    """Hands out {member, micro_batch}."""

    def __init__(self, specs: list[MemberSpec], concurrent: int) -> None:
        super().__init__(concurrent, list(specs))
        self._micro_batches: dict[str, int] = {}

    def _draw(self) -> None:
        return None

    def _config(self, task: MemberSpec) -> dict[str, Any]:
        return {"member": asdict(task), "micro_batch": self._micro_batches.get(task.id)}

    def _end(self, task: MemberSpec, result: dict[str, Any] | None) -> None:
        """Its file says how."""

    def _retry(self, task: MemberSpec, micro_batch: int) -> None:
        self._micro_batches[task.id] = micro_batch

    def _fail(self, task: MemberSpec, reason: str) -> None:
        """It has no file, which says so."""


class _MemberLines(Callback):  # type: ignore[misc]
    """Says how the retraining goes."""

    def __init__(self, settings: Settings, members_left: _Members, total: int, say: Say) -> None:
        self._members_left = members_left
        self._heartbeat = Heartbeat(say, settings.iterations)
        self._hardware = HardwareLines(say, settings.micro_batch)
        self._retries = Retries()
        self._micro_batch = settings.micro_batch
        self._total = total
        self._done = 0
        self._say = say

    def on_trial_start(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        member = trial.config["member"]
        self._say(f"member {member['id']} starts: {describe(member['flat'])}")

    def on_trial_result(self, trial: Trial, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        spec = trial.config["member"]
        self._retries.look(spec["id"], result["iteration"])
        if result["failure"] is None:
            self._hardware.look(spec["id"], spec["flat"], result)
            self._heartbeat.beat(spec["id"], result["iteration"], result["objective"])

    def on_trial_error(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        member = trial.config["member"]
        retry = self._retries.after(member["id"], trial, member["flat"], self._micro_batch)
        if retry is None:
            failure = raised(last_failure(trial)) or "its worker was lost"
            self._members_left.fail(trial.trial_id, failure)
            self._say(f"member {member['id']} failed: {failure}")
        else:
            self._members_left.again(trial.trial_id, retry.micro_batch)
            self._say(f"member {member['id']} {retry.words}")

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None = None, **info: Any) -> None:  # noqa: ARG002
        member, last = trial.config["member"]["id"], trial.last_result
        self._done += 1
        self._heartbeat.forget(member)
        # A member that was complete but for its file reports nothing any more.
        failed = last.get("failure") is not None
        ended = f"is left out: {last['failure']}" if failed else f"done: {last.get('objective', float('nan')):.4f}"
        self._say(f"member {member} {ended}; {self._done} of {self._total} members")
