"""What trainings get done that share a GPU, measured with the default trial of a search."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hybridtune.search.cluster.hosts import not_on
from hybridtune.search.cluster.packing import Measured, best_count, next_count
from hybridtune.search.run.say import Say
from hybridtune.search.workers.trainable import TrainingContext, folded_training
from hybridtune.spaces.parameters import Config

SECONDS = 10.0
"""How long each number of trainings is measured."""


def trainings_on_a_gpu(
    context: TrainingContext, params: Config, seed: int, most: int, avoided: frozenset[str], say: Say
) -> int:
    """How many trainings should share a GPU of the Ray that is there.

    params: of the trial that is measured. most: for how many there are cores beside a GPU. avoided: Ray's names of the
    hosts that must not be used. Raises what the training raises where not even one fits.
    """
    tried: dict[int, Measured] = {}
    gpu_bytes: int | None = None
    while (count := next_count(tried, gpu_bytes, most)) is not None:
        try:
            tried[count], gpu_bytes = _measured(context, params, seed, count, avoided)
        except ray.exceptions.RayTaskError as error:
            # The part was too small after all.
            if not tried or not isinstance(error.cause, torch.OutOfMemoryError):
                raise error.cause from None
            break
        said = "1 trial on a GPU trains" if count == 1 else f"{count} trials on a GPU train"
        say(f"{said} {tried[count].rate:.0f} samples a second")
    return best_count(tried)


def _measured(
    context: TrainingContext, params: Config, seed: int, count: int, avoided: frozenset[str]
) -> tuple[Measured, int | None]:
    """Also the GPU's memory in bytes; None on a CPU."""
    shared = replace(context, hardware=replace(context.hardware, gpus=1 / count))
    with _one_gpu(count, avoided) as group:
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
        remote = ray.remote(num_cpus=1, num_gpus=1 / count, scheduling_strategy=strategy)(_Training)
        trainings = [remote.remote(shared, params, seed) for _ in range(count)]
        ray.get([training.warm_up.remote() for training in trainings])
        done = ray.get([training.train.remote(SECONDS) for training in trainings])
        for training in trainings:
            ray.kill(training)
    rate = sum(each.rate for each in done)
    return Measured(rate, max(each.held for each in done)), done[0].gpu_bytes


@contextmanager
def _one_gpu(cores: int, avoided: frozenset[str]) -> Iterator[PlacementGroup]:
    """A GPU of some host, whole, with so many of its cores."""
    group = placement_group([{"CPU": float(cores), "GPU": 1.0}], bundle_label_selector=[not_on(avoided)])
    try:
        ray.get(group.ready())
        yield group
    finally:
        remove_placement_group(group)


@dataclass(frozen=True)
class _Done:
    rate: float
    """Samples a second."""
    held: int
    """Bytes of the GPU's memory, at most."""
    gpu_bytes: int | None
    """All of it; None on a CPU."""


class _Training:
    """In a worker."""

    def __init__(self, context: TrainingContext, params: Config, seed: int) -> None:
        self._samples = context.budget.samples_per_iteration
        self._begin = partial(folded_training, context, params, seed)

    def warm_up(self) -> None:
        """Kernels are chosen and compiled in the first iteration. Not done in the constructor: of what fails there, Ray
        tells the text only.
        """
        self._training = self._begin()
        self._training.run_iteration()

    def train(self, seconds: float) -> _Done:
        began, iterations = time.monotonic(), 0
        while iterations == 0 or time.monotonic() - began < seconds:
            self._training.run_iteration()
            iterations += 1
        rate = iterations * self._samples / (time.monotonic() - began)
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return _Done(rate, 0, None)
        device = torch.cuda.current_device()
        return _Done(
            rate, torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
        )
