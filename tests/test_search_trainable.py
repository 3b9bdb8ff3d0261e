"""One trial as a worker runs it, without Ray: what it reports, what it saves, where it goes on."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.models.device import worker_environment
from hybridtune.models.hardware import Hardware
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import AnyTraining, Training
from hybridtune.models.training.folds import FoldedTraining
from hybridtune.search.cluster.shared_dataset import SharedDataset
from hybridtune.search.run.place import FolderPlace
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.workers import trainable
from hybridtune.search.workers.checkpoint import Attempt, Checkpoint, checkpoints, remove_checkpoints
from hybridtune.search.workers.trainable import (
    TrainingContext,
    folded_training,
    identity,
    train_to_end,
)
from hybridtune.spaces.basic import BASIC

PARAMS = BASIC.default() | {"hidden_size": 8, "window": 15}


@pytest.fixture(scope="module", params=[1, 2], ids=["one fold", "two folds"])
def context(
    request: pytest.FixtureRequest, raw: Path, prepare_config: PrepareConfig, tmp_path_factory: pytest.TempPathFactory
) -> TrainingContext:
    out = tmp_path_factory.mktemp("folds") / "dataset"
    prepare(raw, out, dataclasses.replace(prepare_config, folds=request.param))
    budget = Budget(iterations=4, samples_per_iteration=64)
    return TrainingContext(
        FolderPlace(out), SharedDataset(out, prepare_config.horizons), budget, Hardware(), rungs=(1, 2)
    )


class WorkerLostError(Exception):
    pass


def trained(
    context: TrainingContext,
    folder: Path,
    reported: int = 0,
    interrupt_at: int | None = None,
    name: str = "mine",
    attempt: int = 1,
    alone: bool = False,
) -> list[Progressed]:
    """Reports of one life of a trial, which may end in the middle of a report."""
    reports: list[Progressed] = []
    folder.mkdir(exist_ok=True)

    def report(report: TrialReport) -> None:
        assert isinstance(report, Progressed)
        untimed = dataclasses.replace(report.progress, seconds=0.0)
        reports.append(dataclasses.replace(report, progress=untimed))
        if untimed.iteration == interrupt_at:
            raise WorkerLostError

    with contextlib.suppress(WorkerLostError):
        train_to_end(
            folded_training(context, PARAMS, seed=0),
            Checkpoint(FolderPlace(folder), "trial", name, Attempt(1, attempt)),
            context,
            report,
            reported,
            alone=alone,
        )
    return reports


def test_a_dataset_with_folds_is_trained_on_all_of_them(context: TrainingContext) -> None:
    folds = len(Dataset(context.dataset.path).folds())
    training = folded_training(context, PARAMS, seed=0)
    assert isinstance(training, Training) == (folds == 1)
    if isinstance(training, FoldedTraining):
        assert len(training.parts) == folds


def test_every_iteration_is_reported_once_and_the_last_as_finished(context: TrainingContext, tmp_path: Path) -> None:
    reports = trained(context, tmp_path)
    assert [report.progress.iteration for report in reports] == [1, 2, 3, 4]
    assert [report.finished for report in reports] == [False, False, False, True]


@pytest.mark.parametrize("stopped_at", [1, 2, 3])
def test_a_trial_that_lost_its_worker_goes_on_from_its_checkpoint(
    context: TrainingContext, tmp_path: Path, stopped_at: int
) -> None:
    undisturbed = trained(context, tmp_path / "whole")
    before = trained(context, tmp_path / "stopped", interrupt_at=stopped_at)
    assert checkpoints(FolderPlace(tmp_path / "stopped"), "trial")
    after = trained(context, tmp_path / "stopped", reported=stopped_at - 1)
    # The last iteration that was reported is reported again, all else once.
    assert before[:-1] + after == undisturbed


@pytest.mark.parametrize(("alone", "expected"), [(False, 2), (True, 32)])
def test_what_fitted_into_a_part_of_a_gpu_is_no_limit_on_the_whole(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool, expected: int
) -> None:
    trained(context.fitting(2), tmp_path / "stopped", interrupt_at=1)
    went_on = trained(context.fitting(32), tmp_path / "stopped", reported=1, alone=alone)
    assert {report.progress.micro_batch for report in went_on} == {expected}


def test_a_checkpoint_of_another_training_is_not_loaded(context: TrainingContext, tmp_path: Path) -> None:
    """A study that was put back from its copy gives a number again, with another configuration."""
    undisturbed = trained(context, tmp_path / "whole")
    trained(context, tmp_path / "other", interrupt_at=3, name="another")
    assert trained(context, tmp_path / "other") == undisturbed


def test_a_training_is_known_by_what_decides_its_weights(context: TrainingContext) -> None:
    mine = identity(PARAMS, 0, context)
    assert identity(dict(reversed(PARAMS.items())), 0, context) == mine
    assert identity(PARAMS, 0, context.fitting(7)) == mine
    longer = dataclasses.replace(context, budget=dataclasses.replace(context.budget, iterations=5))
    others = [
        identity(PARAMS | {"dropout": 0.21}, 0, context),
        identity(PARAMS, 1, context),
        identity(PARAMS, 0, longer),
    ]
    assert len({mine, *others}) == 4


def test_what_a_killed_save_left_is_taken_away(context: TrainingContext, tmp_path: Path) -> None:
    trained(context, tmp_path)
    (name,) = checkpoints(FolderPlace(tmp_path), "trial")
    (tmp_path / "trial" / f".{Path(name).name}.123.tmp").write_bytes(b"half")
    remove_checkpoints(FolderPlace(tmp_path), "trial", epoch=2)
    assert not list((tmp_path / "trial").iterdir())


def test_what_a_given_up_attempt_goes_on_to_write_is_never_read(context: TrainingContext, tmp_path: Path) -> None:
    """Its host's link was cut; it hears nothing of the attempt that followed it."""
    place = FolderPlace(tmp_path)
    trained(context, tmp_path, interrupt_at=2, attempt=1)
    (given_up,) = checkpoints(place, "trial")
    second = trained(context, tmp_path, interrupt_at=2, attempt=2)
    (mine,) = checkpoints(place, "trial")
    assert mine != given_up
    assert [report.progress.iteration for report in second] == [1, 2]
    # As the given-up attempt would: it lies there when a third begins.
    ahead = b"not even a checkpoint"
    place.write(given_up, ahead)
    third = trained(context, tmp_path, attempt=3)
    assert [report.progress.iteration for report in third] == [1, 2, 3, 4]
    assert [Path(name).name.rpartition("-")[2] for name in checkpoints(place, "trial")] == ["000003.pt"]


def test_an_attempt_that_was_given_up_before_it_began_takes_nothing_from_its_successor(
    context: TrainingContext, tmp_path: Path
) -> None:
    """Its host was slow to come to it, or cut off just then."""
    place = FolderPlace(tmp_path)
    trained(context, tmp_path, interrupt_at=3, attempt=2)
    (successors,) = checkpoints(place, "trial")
    content = place.read(successors)
    late = trained(context, tmp_path, interrupt_at=1, attempt=1)
    assert [report.progress.iteration for report in late] == [1]
    assert place.read(successors) == content


def test_an_attempt_of_an_earlier_driver_is_older_however_many_it_made(
    context: TrainingContext, tmp_path: Path
) -> None:
    place = FolderPlace(tmp_path)
    for epoch, number in ((1, 900), (2, 1), (10, 1)):
        Checkpoint(place, "trial", "mine", Attempt(epoch, number)).save(folded_training(context, PARAMS, seed=0))
    assert [Path(name).stem.split("-")[2:] for name in checkpoints(place, "trial")] == [
        ["000001", "000900"],
        ["000002", "000001"],
        ["000010", "000001"],
    ]


def test_a_training_that_is_not_finite_any_more_keeps_its_best_weights(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two rungs, where nothing else is saved."""
    monkeypatch.setattr(trainable, "CHECKPOINT_SECONDS", 1e9)
    between = dataclasses.replace(context, rungs=())
    training = folded_training(between, PARAMS, seed=0)
    reports: list[TrialReport] = []

    def report(report: TrialReport) -> None:
        reports.append(report)
        for part in parts(training):
            part.config = dataclasses.replace(part.config, learning_rate=1e38)

    assert not train_to_end(
        training, Checkpoint(FolderPlace(tmp_path), "trial", "mine", Attempt(1, 1)), between, report
    )
    assert [type(report) for report in reports] == [Progressed, Failed]
    kept = folded_training(between, PARAMS, seed=0)
    assert Checkpoint(FolderPlace(tmp_path), "trial", "mine", Attempt(1, 1)).load(kept)
    for part, whole in zip(parts(kept), parts(training), strict=True):
        for name, values in part.model.state_dict().items():
            assert values.isfinite().all()
            assert torch.equal(values, whole.best_weights()[name])


def parts(training: AnyTraining) -> Sequence[Training]:
    return training.parts if isinstance(training, FoldedTraining) else [training]


def test_a_checkpoint_ahead_of_the_reports_is_reported_up_to(context: TrainingContext, tmp_path: Path) -> None:
    undisturbed = trained(context, tmp_path)
    assert trained(context, tmp_path) == undisturbed
    assert trained(context, tmp_path, reported=3) == undisturbed[3:]


MEMORY_OF_TRIALS = """
import resource
from pathlib import Path
from sys import argv
from hybridtune.models.device import worker_environment
from hybridtune.models.hardware import Hardware
from hybridtune.search.workers import trainable
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport
from hybridtune.search.run.place import FolderPlace
from hybridtune.search.cluster.shared_dataset import SharedDataset
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.models.training.config import Budget

def stop(report):
    raise SystemExit

trainable.report_to_tune = stop
folder, dataset = map(Path, argv[1:])
budget = Budget(iterations=2, samples_per_iteration=512)
hardware = Hardware(precision="fp32")
context = trainable.TrainingContext(FolderPlace(folder), SharedDataset(dataset, (15, 60)), budget, hardware, ())

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

def run(number, **changes):
    params = HYBRID.default() | {"windows": "15/60", "attention_span": 240} | changes
    task = trainable.TrialTask(number, params, reported=0, micro_batch=None, attempt=1)
    try:
        trainable.run_trial(task.to_tune(), context, seed=0)
    except SystemExit:
        pass
    else:
        raise AssertionError("the trial was to be stopped")

run(0, hidden_size=64, batch_size=64)
before = resident()
run(1, hidden_size=128, batch_size=512)
print(before, resident(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_a_trial_that_was_stopped_gives_its_memory_back(dataset: Dataset, tmp_path: Path) -> None:
    """In a process with a worker's environment, which tells glibc to keep freed buffers."""
    (tmp_path / "tune").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_TRIALS, str(tmp_path), str(dataset.source)],
        env=os.environ | worker_environment(),
        check=True,
        capture_output=True,
    )
    before, after, most = map(float, result.stdout.split())
    assert most > before + 300
    assert after < before + 60
