"""A training whose worker the kernel took for its memory goes on with a smaller micro-batch, any other as it was."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import SMALL_LAUNCH, Workplace, wait_until
from ray.exceptions import ActorDiedError
from ray.train._internal import storage
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from hybridtune.models.training.progress import Progress
from hybridtune.search.cluster import memory
from hybridtune.search.cluster.memory import MemoryWatch, memory_kills
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.finalists.members import MemberSpec
from hybridtune.search.finalists.retrain import MemberTask
from hybridtune.search.run.trial_report import Progressed
from hybridtune.search.workers.failures import DiskFullError
from hybridtune.search.workers.retries import HOST_LOSSES, Retries, last_failure, raised
from hybridtune.search.workers.tasks import Retry
from hybridtune.spaces.parameters import Config

PARAMS: Config = {"batch_size": 256}


@pytest.fixture
def kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's counters, as a file that a test may change."""
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 5\noom_kill 3\nnuma_hit 7\n")
    monkeypatch.setattr(memory, "VMSTAT", counters)
    return counters


Lost = Callable[..., str]


def task(name: str = "x", micro_batch: int | None = None, params: Config = PARAMS) -> MemberTask:
    return MemberTask(MemberSpec(name, "trial 0", params, seed=0), micro_batch, attempt=1)


def watching() -> Retries:
    """On this machine."""
    return Retries(OwnWorkers().memory_ran_out)


def progressed(micro_batch: int) -> Progressed:
    return Progressed(Progress(1, 512, 0.7, 0.7, 0.5, 0.7, seconds=1.0, micro_batch=micro_batch), False, "cpu")


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lost:
    """How the worker of a real Tune trial ended, by one error after the other."""
    # Tune's own place for them needs a running Ray.
    monkeypatch.setattr(storage, "_get_ray_train_session_dir", lambda: str(tmp_path / "session"))

    def end(*errors: Exception) -> str:
        trial = Trial("train", stub=True)
        trial.storage = StorageContext(str(tmp_path), experiment_dir_name="x", trial_dir_name="y")
        Path(trial.local_path).mkdir(parents=True, exist_ok=True)
        for error in errors or (ActorDiedError(),):
            trial.handle_error(error)
        return last_failure(trial)

    return end


def test_the_kernel_says_how_many_processes_it_killed_for_memory(kills: Path, tmp_path: Path) -> None:
    assert memory_kills() == 3
    kills.write_text("numa_hit 7\n")
    assert memory_kills() == 0
    kills.unlink()
    assert memory_kills() == 0


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize(
    ("config", "reported", "again"), [(None, None, 256), (64, None, 64), (64, 16, 16), (16, 64, 16)]
)
def test_a_worker_lost_for_another_reason_goes_on_as_it_was(
    lost: Lost, config: int | None, reported: int | None, again: int
) -> None:
    last = None if reported is None else progressed(reported)
    retry = watching().after(task(micro_batch=config), last, lost(), None)
    assert retry == Retry(again, "lost its worker and goes on from its last checkpoint")


def test_a_worker_lost_for_memory_goes_on_with_less_and_at_last_with_one(lost: Lost, kills: Path) -> None:
    watched = watching()
    kills.write_text("oom_kill 4\n")
    retry = watched.after(task("x"), None, lost(), None)
    assert retry is not None
    assert retry.micro_batch == 32
    assert retry.words.endswith("for want of memory and goes on from its last checkpoint, 32 anchors at a time")
    # What was seen once is not held against another.
    other = watched.after(task("y"), None, lost(), None)
    assert other is not None
    assert "memory" not in other.words
    kills.write_text("oom_kill 5\n")
    last = watched.after(task(micro_batch=32), None, lost(), None)
    assert last is not None
    assert last.micro_batch == 1


@pytest.mark.usefixtures("kills")
def test_a_worker_that_ended_itself_for_memory_goes_on_with_less_too(lost: Lost) -> None:
    """As a failed attempt may leave too little for the next in the same process."""
    retry = watching().after(task(), None, lost(RuntimeError("could not create a primitive")), None)
    assert retry is not None
    assert "for want of memory" in retry.words
    assert retry.micro_batch == 32


@pytest.mark.usefixtures("kills")
def test_what_does_not_fit_into_a_part_of_a_gpu_gets_a_whole_one_and_then_less(lost: Lost) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    shared = Retries(OwnWorkers().memory_ran_out, gpus_shared=True)
    first = shared.after(task(), progressed(1), lost(full), None)
    assert first is not None
    assert (first.alone, first.micro_batch) == (True, 256)
    assert "goes on from its last checkpoint on a whole one" in first.words
    alone = MemberTask(MemberSpec("x", "trial 0", PARAMS, seed=0), 64, attempt=2, alone=True)
    second = shared.after(alone, None, lost(full), None)
    assert second is not None
    assert not second.alone
    assert second.micro_batch == 8
    for words in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"):
        retry = shared.after(task(words), None, lost(RuntimeError(words)), None)
        assert retry is not None
        assert retry.alone
    whole = watching().after(task("y"), None, lost(full), None)
    assert whole is not None
    assert not whole.alone


@pytest.mark.parametrize(("asked", "again"), [(40, 5), (None, 8)])
def test_it_begins_with_what_was_asked_for_or_the_default_batch(
    lost: Lost, kills: Path, asked: int | None, again: int
) -> None:
    watched = watching()
    kills.write_text("oom_kill 4\n")
    retry = watched.after(task(params={}), None, lost(), asked)
    assert retry is not None
    assert retry.micro_batch == again


@pytest.mark.usefixtures("kills")
def test_only_the_end_of_the_last_worker_counts(lost: Lost) -> None:
    failure = lost(RuntimeError("could not create a primitive"), ActorDiedError())
    retry = watching().after(task(), None, failure, None)
    assert retry is not None
    assert "memory" not in retry.words


@pytest.mark.usefixtures("kills")
def test_a_worker_that_found_the_disk_full_is_not_tried_again(lost: Lost) -> None:
    with pytest.raises(DiskFullError):
        watching().after(task(), None, lost(OSError(errno.ENOSPC, "No space left on device")), None)


@pytest.mark.usefixtures("kills")
def test_after_two_retries_without_any_progress_a_training_has_failed(lost: Lost) -> None:
    watched = watching()
    assert [watched.after(task("x"), None, lost(), None) is not None for _ in range(3)] == [True, True, False]
    # Another has its own.
    assert watched.after(task("y"), None, lost(), None) is not None


@pytest.mark.usefixtures("kills")
def test_a_training_that_gets_further_has_all_its_retries_again(lost: Lost) -> None:
    watched = watching()
    for iteration in range(1, 5):
        assert watched.after(task("x"), None, lost(), None) is not None
        watched.inspect(task("x").name, iteration)
    assert watched.after(task("x"), None, lost(), None) is not None
    assert watched.after(task("x"), None, lost(), None) is not None
    # What an attempt repeats from the checkpoint is nothing new.
    for iteration in (2, 3, 4):
        watched.inspect(task("x").name, iteration)
    assert watched.after(task("x"), None, lost(), None) is None


@pytest.mark.usefixtures("kills")
def test_the_same_exception_twice_without_any_progress_is_final(lost: Lost) -> None:
    def broken(line: str) -> str:
        return lost(RuntimeError(f'ray::train\n  File "fit.py", line 3, in run\n{line}'))

    watched = watching()
    assert watched.after(task("x"), None, broken("ValueError: wrong"), None) is not None
    assert watched.after(task("x"), None, broken("OSError: another"), None) is not None
    watched.inspect(task("x").name, 1)
    assert watched.after(task("x"), None, broken("OSError: another"), None) is not None
    assert watched.after(task("y"), None, broken("OSError: another"), None) is not None
    assert watched.after(task("x"), None, broken("OSError: another"), None) is None


def test_the_exception_of_a_worker_is_told_from_its_disappearance(lost: Lost) -> None:
    gone = ActorDiedError()
    assert "died unexpectedly" in lost(gone)
    assert raised(lost(gone)) is None
    error = RuntimeError('ray::train\n  File "fit.py", line 3, in run\nValueError: what was wrong')
    assert raised(lost(gone, error)) == "ValueError: what was wrong"
    # As PyTorch says it, whose last line is the same for all.
    of_cuda = (
        'ray::train\n  File "fit.py", line 3, in run\n    loss.backward()\n'
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."
    )
    said = raised(lost(gone, RuntimeError(of_cuda)))
    assert said == "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"


@pytest.fixture
def limited() -> Iterator[Path]:
    """A memory control group of our own; a machine that lets us make none cannot show this."""
    lines = Path("/proc/self/cgroup").read_text().split()
    own = next((line.split(":")[2] for line in lines if line.split(":")[1] == "memory"), None)
    group = Path(f"/sys/fs/cgroup/memory{own}/hybridtune-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["timeout", "20", "sh", "-c", f"until rmdir {group}; do sleep 0.2; done"], check=True)


WIDE = """
base: hybrid
dimensions:
  hidden_size: 256
  attention_heads: 2
  windows: 15/60
  batch_size: 1024
"""


@pytest.mark.slow
def test_a_trial_that_the_kernel_kills_for_its_memory_is_trained_in_smaller_parts(
    tmp_path: Path, finished: Workplace, limited: Path
) -> None:
    place = Workplace(tmp_path)
    (tmp_path / "space.yaml").write_text(WIDE)
    (limited / "memory.limit_in_bytes").write_text(str(1600 * 2**20))
    launch = ("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH, "--trials", "1")
    budget = ("--top-k", "1", "--seeds", "1", "--samples-per-iteration", "1024", "--iterations", "1")
    command = place.start(*launch, *budget, "--precision", "fp32")
    try:
        (limited / "cgroup.procs").write_text(str(command.process.pid))
        wait_until((place.path / "run" / "trials.parquet").exists, command)
    finally:
        command.kill()
    trials = pd.read_parquet(place.path / "run" / "trials.parquet")
    assert "Traceback" not in command.stderr
    assert "(raylet)" not in command.stdout
    assert trials["state"].tolist() == ["complete"]
    assert 1 <= trials["retries"][0] <= 2
    assert trials["micro_batch"][0] in (128, 1)
    assert "lost its worker for want of memory" in command.stdout


GONE = (
    "The actor 3a0f is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed",
    "The actor died unexpectedly.\nThe actor died because its node has died. Node Id: aa9b\n\thealth check failed",
    'ray::run_trial()\n  File "place.py", line 68\nhybridtune.search.run.place.PlaceError: /run is not there',
    'ray::run_trial()\n  File "shared_dataset.py"\nray.exceptions.OwnerDiedError: Failed to retrieve object 00ff.',
)


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize("failure", GONE)
def test_a_host_that_is_lost_costs_no_retry(lost: Lost, failure: str) -> None:
    """Words as Ray 2.60 gave them when every process of a host was killed, when its link was cut, and when a busy
    machine's worker took the driver for dead.
    """
    watched = watching()
    for _ in range(HOST_LOSSES):
        retry = watched.after(task(), None, failure, None)
        assert retry == Retry(256, "lost its host and goes on from its last checkpoint", host_lost=True)
    assert [watched.after(task(), None, lost(), None) is not None for _ in range(3)] == [True, True, False]
    # What kills its hosts one after the other is most likely the training itself.
    assert watched.after(task(), None, failure, None) is None
    watched.inspect(task().name, 1)
    assert watched.after(task(), None, failure, None) is not None


def test_memory_is_asked_of_the_host_that_lost_the_worker() -> None:
    kills = {"10.0.0.1": 3, "10.0.0.2": 0}
    watch = MemoryWatch(lambda host: {name: count for name, count in kills.items() if host in (None, name)})
    kills["10.0.0.1"] = 4
    assert not watch.rose("10.0.0.2")
    assert watch.rose("10.0.0.1")
    assert not watch.rose("10.0.0.1")
    # One that has joined since has its past kills behind it.
    kills["10.0.0.3"] = 7
    assert not watch.rose(None)
    kills["10.0.0.3"] = 8
    assert watch.rose(None)
