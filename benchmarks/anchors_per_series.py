"""Claim: the default number of anchors that share a pass over a series tells training the most in a CPU second.

First the gradient: of the default hybrid that has learnt for an iteration, its noise (the trace of the covariance of
the gradients of many batches of the default size) times what a batch costs. Anchors of one series are alike, so many
of them tell less than as many of different series; but a series is read once for all of its anchors. Then the judge:
short trainings of each number, for the same CPU time by what that costs, on a market that nothing was tuned on.

`--folder` keeps what was found: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student_t

from benchmarks.machine import cpu_name
from benchmarks.training import new_training
from hybridtune.data.batches import TrainingStream
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.inference import forward
from hybridtune.models.training.config import Budget, TrainConfig
from hybridtune.models.training.fit import Training
from hybridtune.models.training.loss import make_loss
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.spaces.hybrid import HYBRID

MARKET = 2031
"""Seed of the generated market."""
NUMBERS = (4, 8, 16)
LAUNCHES = 600
SAMPLES = 4096
GRADIENTS = 64
ITERATIONS = 10
"""Of the default number; the others have as many as take the same CPU time."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    number: int
    seed: int
    iterations: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, process_map(cores()) as parallel_map:
        folder = given.folder or Path(temporary)
        if not (folder / "dataset").exists():
            generate(SynthConfig(tokens=LAUNCHES, seed=MARKET), folder / "raw")
            prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=30), map)
        told = {number: gradient(folder / "dataset", number) for number in NUMBERS}
        default = TrainConfig.anchors_per_series
        lasting = {number: round(ITERATIONS * told[default].seconds / told[number].seconds) for number in NUMBERS}
        arms = [Arm(number, seed, lasting[number]) for seed in range(given.seeds) for number in NUMBERS]
        losses = list(parallel_map(partial(trained, folder=folder), arms))
    of = {(arm.number, arm.seed): loss for arm, loss in zip(arms, losses, strict=True)}
    gains = {number: gain(of, number, default, given.seeds) for number in NUMBERS if number != default}
    print(
        json.dumps(
            {
                "benchmark": "anchors_per_series",
                "machine": {"cpu": cpu_name(), "cores": cores()},
                "noise": {number: round(found.noise, 5) for number, found in told.items()},
                "batch_ms": {number: round(1000 * found.seconds, 1) for number, found in told.items()},
                "information_per_second": {
                    number: round(found.information / told[default].information, 2) for number, found in told.items()
                },
                "iterations": lasting,
                "tune_loss": {
                    number: round(statistics.mean(of[number, seed] for seed in range(given.seeds)), 5)
                    for number in NUMBERS
                },
                "less_than_default": gains,
                "holds": all(low <= 0 for _, low, _ in gains.values()),
            }
        )
    )


@dataclass(frozen=True)
class Told:
    noise: float
    """Of the gradient of a batch."""
    seconds: float
    """CPU time of a batch, made and passed forwards and backwards."""

    @property
    def information(self) -> float:
        return 1 / (self.noise * self.seconds)


def gradient(path: Path, number: int) -> Told:
    dataset = Dataset(path)
    # The same weights for all: those that the default has after an iteration.
    training = new_training(dataset, HYBRID.default(), Budget(ITERATIONS, SAMPLES), seed=0)
    training.run_iteration()
    stream = TrainingStream(dataset, seed=1, anchors_per_series=number)
    gradients, seconds = [], []
    for _ in range(GRADIENTS):
        started = time.process_time()
        gradients.append(_gradient(training, stream, dataset))
        seconds.append(time.process_time() - started)
    stacked = np.stack(gradients)
    return Told(float(stacked.var(axis=0, ddof=1).sum()), statistics.median(seconds))


def _gradient(training: Training, stream: TrainingStream, dataset: Dataset) -> np.ndarray:
    model = training.model
    model.train()
    model.zero_grad(set_to_none=True)
    batch = stream.take(training.config.batch_size)
    loss = make_loss(training.config.loss, training.config.class_weights, dataset)
    known = int((batch.y_MKH >= 0).sum())
    mean = loss.summed(forward(model, batch, CPU, "fp32"), torch.from_numpy(batch.y_MKH)) / known
    mean.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy().copy()


def trained(arm: Arm, folder: Path) -> float:
    """The best tune loss."""
    kept = folder / f"{arm.number}-{arm.seed}-{arm.iterations}.json"
    if kept.exists():
        return float(json.loads(kept.read_text()))
    params = HYBRID.default() | {"anchors_per_series": arm.number}
    budget = Budget(arm.iterations, SAMPLES, patience=arm.iterations, tune_anchors=10**9)
    training = new_training(Dataset(folder / "dataset"), params, budget, arm.seed)
    while not training.finished:
        training.run_iteration()
    kept.write_text(json.dumps(training.history[-1].objective))
    return training.history[-1].objective


def gain(of: dict[tuple[int, int], float], number: int, default: int, seeds: int) -> tuple[float, float, float]:
    """Mean over the seeds by which the loss is lower than the default's, with its 95% interval."""
    differences = [of[default, seed] - of[number, seed] for seed in range(seeds)]
    middle = statistics.mean(differences)
    half = float(student_t.ppf(0.975, seeds - 1)) * statistics.stdev(differences) / seeds**0.5
    return round(middle, 5), round(middle - half, 5), round(middle + half, 5)


if __name__ == "__main__":
    main()
