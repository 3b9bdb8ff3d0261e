"""Claim: in a search with two workers, at least 90% of the workers' time goes into training.

Runs the search stage alone, on generated launches, and compares the seconds that the iterations of all trials took
(steps and the look at the tune slice) with the time that the workers were there: from the first trial's start to the
end of the last, for each worker. With a worker idle at the end for want of trials, as at the end of every search;
`with_work` counts until the last trial starts, up to when there was work for every worker. What it lacks to 1 is what
ending a training and starting another costs: with `--scheduler promotion --grace-period 1` at every rung.
`whole` counts from the call on: Ray's start, the workers' imports and the dataset's sharing too.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.machine import cpu_name
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.tuning.tune import search
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Choice

WORKERS = 2
CLAIM = 0.9
SMALL = HYBRID.with_dimensions({"hidden_size": Choice(choices=(48, 64)), "layers": Choice(choices=(1,))})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--launches", type=int, default=200)
    parser.add_argument("--samples-per-iteration", type=int, default=4096)
    parser.add_argument("--scheduler", default=Settings.model_fields["scheduler"].default)
    parser.add_argument("--grace-period", type=int, default=Settings.model_fields["grace_period"].default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepared(Path(folder), arguments.launches)
        how = {
            "scheduler": arguments.scheduler,
            "grace_period": arguments.grace_period,
            "samples_per_iteration": arguments.samples_per_iteration,
        }
        result = how | measure(Path(folder), dataset, arguments.trials, how)
    machine = {"cpu": cpu_name(), "cores": cores()}
    holds = result["utilisation"] >= CLAIM
    print(json.dumps({"benchmark": "utilisation", "machine": machine, **result, "claim": CLAIM, "holds": holds}))


def prepared(folder: Path, launches: int) -> Dataset:
    generate(SynthConfig(tokens=launches), folder / "raw")
    with process_map(cores()) as parallel_map:
        prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=30), parallel_map)
    return Dataset(folder / "dataset")


def measure(folder: Path, dataset: Dataset, trials: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """how: further settings."""
    settings = Settings(
        dataset=folder / "dataset",
        dimensions=dict(SMALL.dimensions),
        reference=SMALL.reference,
        trials=trials,
        concurrent=WORKERS,
        iterations=10,
        **how,
    )
    run = RunDir.create(folder / "run", settings, dataset.info.fingerprint)
    starts: list[tuple[float, float]] = []
    """When, and the seconds trained until then."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)
        if text.startswith("trial ") and " starts: " in text:
            starts.append((time.monotonic(), trained_so_far(run)))

    called = time.monotonic()
    with OwnWorkers() as workers:
        search(run, say, workers)
        ended = time.monotonic()
    trained = float(pd.read_parquet(run.path / "trials.parquet")["seconds"].sum())
    (first, _), (last, trained_until_last) = starts[0], starts[-1]
    return {
        "trials": trials,
        "training_seconds": round(trained, 1),
        "utilisation": round(trained / WORKERS / (ended - first), 3),
        "with_work": round(trained_until_last / WORKERS / (last - first), 3),
        "whole": round(trained / WORKERS / (ended - called), 3),
    }


def trained_so_far(run: RunDir) -> float:
    """In seconds, without the iterations under way."""
    return float(read_curves(run.curve_log)["seconds"].sum())


if __name__ == "__main__":
    main()
