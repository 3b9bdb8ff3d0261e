"""A batch in parts gives the same step, and a training survives memory that runs out: real allocations that fail."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from hybridtune.data.batches import Batch, TrainingStream, padded_minutes
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import ARCHITECTURES, build_model, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.inference import on_device, predict_batch
from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.fit import Training
from hybridtune.models.training.micro_batch import MicroBatch, is_out_of_memory, split

CPU = torch.device("cpu")


def training(dataset: Dataset, architecture: str, **changes: object) -> Training:
    sizes = {"input_size": len(dataset.info.features), "horizons": 2, "hidden_size": 16, "dropout": 0.0}
    model = build_model(model_config(architecture, sizes), 0)
    model.scaling.fit(train_bars(dataset))
    config = dataclasses.replace(TrainConfig(batch_size=48, iterations=1, samples_per_iteration=48), **changes)
    return Training(model, dataset, config, 0, CPU, "fp32")


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 90), anchors=st.integers(1, 100), per_series=st.integers(1, 30))
def test_the_parts_hold_every_anchor_once_in_order_and_no_more_than_asked(
    dataset: Dataset, size: int, anchors: int, per_series: int
) -> None:
    batch = TrainingStream(dataset, 0, per_series).take(size)
    parts = split(batch, anchors)
    assert all(1 <= part.valid_MK.sum() <= anchors for part in parts)
    for field in ("anchor_MK", "y_MKH"):
        whole = getattr(batch, field)[batch.valid_MK]
        np.testing.assert_array_equal(np.concatenate([getattr(p, field)[p.valid_MK] for p in parts]), whole)
    for part in parts:
        assert (part.length_M > part.anchor_MK.max(axis=1)).all()
        assert part.x_MTF.shape[1] == padded_minutes(part.length_M.max())


@pytest.mark.parametrize("anchors", [1, 7, 20])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_predictions_of_the_parts_are_those_of_the_whole(dataset: Dataset, architecture: str, anchors: int) -> None:
    model = training(dataset, architecture).model
    batch = TrainingStream(dataset, 3, 16).take(40)
    parts = [predict_batch(model, part, CPU, "fp32") for part in split(batch, anchors)]
    np.testing.assert_allclose(np.concatenate(parts), predict_batch(model, batch, CPU, "fp32"), rtol=0, atol=1e-6)


def gradients(dataset: Dataset, architecture: str, **changes: object) -> torch.Tensor:
    """Of the first step, before it is clipped."""
    started = training(dataset, architecture, gradient_clip=1e9, **changes)
    started.run_iteration()
    return torch.cat([p.grad.flatten() for p in started.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("changes", [{}, {"loss": "focal", "class_weights": "auto"}], ids=["plain", "focal"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_accumulated_gradients_are_those_of_the_whole_batch(
    dataset: Dataset, architecture: str, changes: dict[str, object]
) -> None:
    """Masked labels are spread unevenly over the parts, so a mean of means would differ."""
    whole = gradients(dataset, architecture, **changes)
    assert whole.norm() > 1e-3
    for anchors in (1, 5, 16, 30):
        parted = gradients(dataset, architecture, micro_batch=anchors, **changes)
        torch.testing.assert_close(parted, whole, rtol=1e-4, atol=1e-6)


class NothingPickedByWhatIsKnown(TorchDispatchMode):
    """A GPU is waited for where elements are picked out by whether something holds: their number has to be known."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "index" in str(func):
            picked = [one for one in args[1] if one is not None] if isinstance(args[1], list | tuple) else []
            assert all(one.dtype != torch.bool for one in picked), func
        assert "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"loss": "focal", "class_weights": "auto"}], ids=["plain", "focal"])
def test_no_step_waits_for_a_gpu_to_count_labels(dataset: Dataset, changes: dict[str, object]) -> None:
    started = training(dataset, "hybrid_lstm", **changes)
    batch = TrainingStream(dataset, 0, 16).take(32)
    with NothingPickedByWhatIsKnown():
        started._step(batch)


def test_only_what_is_pinned_is_copied_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU would read memory that has been freed: PyTorch's issue 139550."""
    asked: list[bool] = []

    def to(self: torch.Tensor, device: torch.device, *, non_blocking: bool = False) -> torch.Tensor:
        asked.append(non_blocking)
        return self

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    for kind in ("mps", "cpu", "cuda"):
        on_device(np.zeros(3), torch.device(kind))
    assert asked == [False, False, True]


def fails_above(anchors: int, error: Callable[[], BaseException]) -> Callable[[list[Batch]], list[int]]:
    def work(parts: list[Batch]) -> list[int]:
        sizes = [int(part.valid_MK.sum()) for part in parts]
        if max(sizes) > anchors:
            raise error()
        return sizes

    return work


def allocation_that_fails() -> BaseException:
    """What torch raises when the host has no such memory."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("an exbibyte was found")


@pytest.mark.parametrize(
    "error",
    [
        allocation_that_fails,
        MemoryError,
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: RuntimeError("could not create a primitive"),
        lambda: RuntimeError("could not execute a primitive"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["torch on the host", "numpy", "CUDA", "oneDNN's creation", "oneDNN's execution", "cuBLAS", "cuDNN"],
)
@pytest.mark.parametrize("fits", [1, 6, 40])
def test_it_halves_until_the_work_fits_and_stays_there(
    dataset: Dataset, error: Callable[[], BaseException], fits: int
) -> None:
    batch = TrainingStream(dataset, 0, 16).take(48)
    micro_batch = MicroBatch(48)
    assert sum(micro_batch.run(batch, fails_above(fits, error))) == 48
    assert fits / 2 < micro_batch.anchors <= fits
    before = micro_batch.anchors
    micro_batch.run(batch, fails_above(fits, error))
    assert micro_batch.anchors == before


def test_what_does_not_fit_at_one_anchor_fails_and_other_errors_pass(dataset: Dataset) -> None:
    batch = TrainingStream(dataset, 0, 16).take(8)
    with pytest.raises(MemoryError):
        MicroBatch(8).run(batch, fails_above(0, MemoryError))
    micro_batch = MicroBatch(8)
    with pytest.raises(RuntimeError, match="shapes"):
        micro_batch.run(batch, fails_above(0, lambda: RuntimeError("shapes do not match")))
    assert micro_batch.anchors == 8
    assert not is_out_of_memory(ValueError("x"))


STARVED = """
import resource, sys
from pathlib import Path
import torch
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.fit import Training
from hybridtune.models.architectures.scaler import train_bars

torch.set_num_threads(1)
dataset = Dataset(Path(sys.argv[1]))
sizes = {"input_size": len(dataset.info.features), "horizons": 2, "hidden_size": 160, "dropout": 0.0}
model = build_model(model_config("hybrid_lstm", sizes), 0)
model.scaling.fit(train_bars(dataset))
config = TrainConfig(batch_size=1024, iterations=1, samples_per_iteration=1024, anchors_per_series=64)
training = Training(model, dataset, config, 0, torch.device("cpu"), "fp32")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20, resource.RLIM_INFINITY))
progress = training.run_iteration()
print(progress.micro_batch, progress.tune_loss)
"""


def starved(dataset: Dataset, *megabytes: str) -> tuple[int, float]:
    command = [sys.executable, "-c", STARVED, str(dataset.source), *megabytes]
    # The limit counts addresses. Only large buffers that glibc maps one by one leave them when they are freed.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    micro_batch, loss = done.stdout.split()
    return int(micro_batch), float(loss)


@pytest.mark.slow
def test_a_training_whose_host_has_too_little_memory_ends_with_the_same_result(dataset: Dataset) -> None:
    """The kernel refuses the process more than 150 MB on top of what it began with."""
    whole, expected = starved(dataset)
    lowered, loss = starved(dataset, "150")
    assert whole == 1024
    assert lowered < 1024
    assert loss == pytest.approx(expected, abs=1e-5)


def test_a_lowered_micro_batch_is_in_the_record_and_survives_a_resume(dataset: Dataset) -> None:
    started = training(dataset, "basic_lstm", iterations=2, micro_batch=32)
    started._micro_batch.anchors = 8
    assert started.run_iteration().micro_batch == 8
    resumed = training(dataset, "basic_lstm", iterations=2, micro_batch=32)
    resumed.load_state(started.state())
    assert resumed.run_iteration().micro_batch == 8
