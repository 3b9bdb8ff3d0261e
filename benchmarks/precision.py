"""Claim: training in bfloat16 ends with the tune loss of float32, to within what another seed changes.

The default hybrid, trained for the same short schedule with several seeds in either precision on generated launches.
The claim holds if the difference of the two mean losses is at most the spread (largest less smallest) of float32's
own losses over the seeds.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import cpu_name
from benchmarks.training import new_training
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.hardware import Hardware, Precision
from hybridtune.models.training.config import Budget
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.spaces.load import SHIPPED

MARKET = 2027
"""Seed of the generated market."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Arm:
    precision: Precision
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    budget = Budget(iterations=arguments.iterations, samples_per_iteration=2048)
    with tempfile.TemporaryDirectory() as name, process_map(cores()) as parallel_map:
        folder = Path(name)
        generate(SynthConfig(tokens=arguments.tokens, seed=MARKET), folder / "raw")
        prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=30), parallel_map)
        arms = [Arm(precision, seed) for seed in range(arguments.seeds) for precision in PRECISIONS]
        losses = list(parallel_map(partial(tune_loss, folder=folder / "dataset", budget=budget), arms))
    by_precision = {p: [loss for arm, loss in zip(arms, losses, strict=True) if arm.precision == p] for p in PRECISIONS}
    difference = float(np.mean(by_precision["bf16"]) - np.mean(by_precision["fp32"]))
    spread = max(by_precision["fp32"]) - min(by_precision["fp32"])
    result = {
        "benchmark": "precision",
        "machine": {"cpu": cpu_name(), "cores": cores()},
        "tune_loss": {p: [round(loss, 5) for loss in values] for p, values in by_precision.items()},
        "difference": round(difference, 5),
        "seed_to_seed_spread": round(spread, 5),
        "holds": abs(difference) <= spread,
    }
    print(json.dumps(result))


def tune_loss(arm: Arm, folder: Path, budget: Budget) -> float:
    """The best of one training."""
    dataset = Dataset(folder)
    params = SHIPPED["hybrid"].default()
    training = new_training(dataset, params, budget, arm.seed, Hardware(precision=arm.precision))
    while not training.finished:
        training.run_iteration()
    return training.history[-1].objective


if __name__ == "__main__":
    main()
