"""Claim: on launches with structure at several scales the default hybrid LSTM beats the default basic LSTM.

Every shipped architecture with its defaults, five seeds each, the same schedule, on generated launches of a
market that nothing was tuned on (its seed). Each training keeps the weights of its best tune loss; the test slice is
read once, after all of them. An AUC is the mean over horizons. A gain is the mean over seeds of one architecture's
less that of another; its interval covers 95% under resampling of test series and of seeds together. The generator's
oracle stands beside them.

Shapes: A anchors, H horizons, S seeds, B bootstrap resamples.
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

from benchmarks.machine import cpu_name
from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.device import pick, use_one_core
from hybridtune.models.hardware import Hardware
from hybridtune.models.metrics import Values, bootstrap_auc, horizon_metrics, interval
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import Training, predict_slice
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.spaces.load import SHIPPED
from hybridtune.spaces.trial_config import Shape, trial_config

MARKET = 2026
"""Seed of the generated market."""
SEEDS = 5
RESAMPLES = 1000
SPACES = {"hybrid_lstm": "hybrid", "basic_lstm": "basic", "transformer": "transformer", "tcn": "tcn"}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    architecture: str
    seed: int


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
    use_one_core()
    dataset = Dataset(folder)
    params = SHIPPED[SPACES[arm.architecture]].default()
    config = trial_config(params, Shape.of(dataset.info), budget)
    model = build_model(config.model, arm.seed)
    model.scaling.fit(train_bars(dataset))
    training = Training(model, dataset, config.train, arm.seed, *pick(Hardware()))
    started = time.process_time()
    while not training.finished:
        training.run_iteration()
    spent = time.process_time() - started
    training.model.load_state_dict(training.best_weights())
    p_AH = predict_slice(training.model, dataset, "test", CPU, "fp32")
    return Trained(arm, p_AH, training.history[-1].objective, training.iteration, spent)


def compare(dataset: Dataset, trained: list[Trained], oracle: Path) -> dict[str, object]:
    anchors = dataset.frozen_anchors("test")
    y_AH = frozen_labels(dataset, "test")
    rows = pd.DataFrame(
        {"series": np.array(dataset.series.name_M)[anchors.series_A], "minute": anchors.minute_A.astype(np.int32)}
    )
    known = rows.merge(pd.read_parquet(oracle), on=["series", "minute"], how="left", validate="one_to_one")
    oracle_AH = known[[f"p_{horizon}" for horizon in dataset.info.horizons]].to_numpy()
    assert np.isfinite(oracle_AH).all()

    def mean_auc(p_AH: NDArray[np.floating]) -> Values:
        """The value itself, then resampled ones: the same resamples of series for every arm."""
        columns = [(p_AH[:, h], y_AH[:, h]) for h in range(y_AH.shape[1])]
        value_H = [horizon_metrics(p_A, y_A).auc or 0.5 for p_A, y_A in columns]
        resampled_HB = [bootstrap_auc(p_A, y_A, anchors.series_A, RESAMPLES, seed=0) for p_A, y_A in columns]
        return np.concatenate([[np.mean(value_H)], np.mean(resampled_HB, axis=0)])

    aucs: dict[str, list[Values]] = {}
    for part in trained:
        aucs.setdefault(part.arm.architecture, []).append(mean_auc(part.p_AH))
    gains = {name: gain(aucs["hybrid_lstm"], values) for name, values in aucs.items() if name != "hybrid_lstm"}
    return {
        "test_series": len(dataset.members("test")),
        "oracle_auc": round(float(mean_auc(oracle_AH)[0]), 4),
        "arms": {
            name: {
                "auc_of_each_seed": [round(float(value[0]), 4) for value in values],
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


def gain(ours_SB: list[Values], other_SB: list[Values]) -> dict[str, float]:
    """Resamples series (the columns) and, for each of them, seeds."""
    rng = np.random.default_rng(0)

    def over_seeds(values_SB: list[Values]) -> Values:
        values = np.stack(values_SB)
        drawn = rng.integers(0, len(values), (len(values), RESAMPLES))
        resampled = np.take_along_axis(values[:, 1:], drawn, axis=0).mean(axis=0)
        return np.concatenate([values[:, :1].mean(axis=0), resampled])

    difference = over_seeds(ours_SB) - over_seeds(other_SB)
    low, high = interval(difference[1:])
    return {"gain": round(float(difference[0]), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    main()
