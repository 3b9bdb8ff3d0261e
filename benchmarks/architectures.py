"""Claim: on launches with structure at several scales the default hybrid LSTM beats the default basic LSTM.

Every shipped architecture with its defaults, five seeds each, the same schedule, on generated launches of a
market that nothing was tuned on (its seed). Each training keeps the weights of its best tune loss; the test slice is
read once, after all of them. An AUC is the mean over horizons. A gain is the mean over seeds of one architecture's
less that of another; its interval covers 95% of what blocks of calendar time and seeds change. The generator's
oracle stands beside them.

Shapes: A anchors, H horizons.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t

from benchmarks.machine import cpu_name
from benchmarks.training import new_training
from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.metrics import horizon_metrics
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import predict_slice
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.finalists.predictions import StoredPredictions
from hybridtune.search.report.scores import ORACLE, auc_gain, blocks_at, with_oracle
from hybridtune.spaces.load import SHIPPED

MARKET = 2026
"""Seed of the generated market."""
SEEDS = 5
SPACES = {"hybrid_lstm": "hybrid", "basic_lstm": "basic", "transformer": "transformer", "tcn": "tcn"}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    architecture: str
    seed: int

    def __str__(self) -> str:
        return f"{self.architecture}-{self.seed}"


@dataclass(frozen=True)
class Trained:
    arm: Arm
    p_AH: NDArray[np.float32]
    """On the test slice."""
    tune_loss: float
    iterations: int
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4096, help="anchors of an iteration")
    parser.add_argument("--only", nargs="*", default=list(SPACES), choices=list(SPACES))
    arguments = parser.parse_args()
    budget = Budget(iterations=arguments.iterations, samples_per_iteration=arguments.samples)
    with tempfile.TemporaryDirectory() as name, process_map(cores()) as parallel_map:
        folder = Path(name)
        generate(SynthConfig(tokens=arguments.tokens, seed=MARKET), folder / "raw")
        prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=30), parallel_map)
        arms = [Arm(architecture, seed) for seed in range(SEEDS) for architecture in arguments.only]
        trained = list(parallel_map(partial(train, folder=folder / "dataset", budget=budget), arms))
        result = compare(Dataset(folder / "dataset"), trained, folder / "raw" / "oracle.parquet")
    print(json.dumps({"benchmark": "architectures", "machine": {"cpu": cpu_name(), "cores": cores()}} | result))


def train(arm: Arm, folder: Path, budget: Budget) -> Trained:
    """One training of an architecture's default, in a process that trains as a trial does."""
    dataset = Dataset(folder)
    params = SHIPPED[SPACES[arm.architecture]].default()
    training = new_training(dataset, params, budget, arm.seed)
    started = time.process_time()
    while not training.finished:
        training.run_iteration()
    spent = time.process_time() - started
    training.model.load_state_dict(training.best_weights())
    p_AH = predict_slice(training.model, dataset, "test", CPU, "fp32")
    return Trained(arm, p_AH, training.history[-1].objective, training.iteration, spent)


def compare(dataset: Dataset, trained: list[Trained], oracle: Path) -> dict[str, object]:
    test = with_oracle(stored(dataset, trained), oracle)
    names = list(dict.fromkeys(part.arm.architecture for part in trained))
    aucs = {name: [mean_auc(test, str(p.arm)) for p in trained if p.arm.architecture == name] for name in names}
    gains = {name: gain(test, trained, name) for name in names if name != "hybrid_lstm"}
    return {
        "test_series": len(dataset.members("test")),
        "oracle_auc": round(mean_auc(test, ORACLE), 4),
        "arms": {
            name: {
                "auc_of_each_seed": [round(value, 4) for value in values],
                "tune_loss": [round(p.tune_loss, 4) for p in trained if p.arm.architecture == name],
                "iterations": [p.iterations for p in trained if p.arm.architecture == name],
                "cpu_seconds": round(float(np.mean([p.cpu_seconds for p in trained if p.arm.architecture == name]))),
            }
            for name, values in aucs.items()
        },
        "hybrid_gains_over": gains,
        "claim": "hybrid_lstm over basic_lstm: interval above 0",
        "holds": gains["basic_lstm"]["low"] > 0,
    }


def stored(dataset: Dataset, trained: list[Trained]) -> StoredPredictions:
    """The test slice as a run would store it, with a column for each training."""
    anchors = dataset.frozen_anchors("test")
    y_AH = frozen_labels(dataset, "test")
    columns: dict[str, object] = {
        "series": np.array(dataset.series.name_M)[anchors.series_A],
        "launch": dataset.series.start_M[anchors.series_A].astype("datetime64[us]"),
        "minute": anchors.minute_A.astype(np.int32),
    }
    for h, horizon in enumerate(dataset.info.horizons):
        columns[f"label/{horizon}"] = y_AH[:, h]
        columns |= {f"{part.arm}/{horizon}": part.p_AH[:, h] for part in trained}
    return StoredPredictions(pd.DataFrame(columns), dataset.info.horizons)


def mean_auc(test: StoredPredictions, who: str) -> float:
    """Over the horizons; they have both classes."""
    aucs = [horizon_metrics(test.p_A(who, h), test.label_A(h)).auc for h in test.horizons]
    return float(np.mean([value for value in aucs if value is not None]))


def gain(test: StoredPredictions, trained: list[Trained], other: str) -> dict[str, float]:
    """Of the hybrid, seed by seed. The variance of their mean: over blocks of time, and over seeds."""
    seeds = sorted({part.arm.seed for part in trained})
    pairs = [auc_gain(test, str(Arm("hybrid_lstm", s)), str(Arm(other, s))) for s in seeds]
    values = np.array([pair.estimate.value for pair in pairs])
    blocks = blocks_at(test, max(test.horizons))
    t = float(student_t.isf(0.025, blocks - 1))
    errors = np.array([(pair.estimate.high - pair.estimate.low) / (2 * t) for pair in pairs])
    # The blocks are the same for every seed, so their errors do not average out.
    reach = t * float(np.sqrt((errors**2).mean() + values.var(ddof=1) / len(seeds)))
    value = float(values.mean())
    return {"gain": round(value, 4), "low": round(value - reach, 4), "high": round(value + reach, 4)}


if __name__ == "__main__":
    main()
