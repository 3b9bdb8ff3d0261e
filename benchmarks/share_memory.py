"""Claim: of 8 trials on one machine, each holds at most 50 MB more on a dataset of 1 GB than on a tiny one.

Trains the default hybrid for two iterations in 8 Ray workers at a time, as a search does, first on a tiny dataset and
then on a large one, and takes each worker's private dirty memory (smaps_rollup) while all 8 still hold their training.
Pages of the memory-mapped dataset are shared and clean: the system has them once, whoever reads them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ray

from benchmarks.machine import cpu_name, rollup_kb
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.hardware import Hardware
from hybridtune.models.training.config import Budget
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.cluster.shared_dataset import share_dataset
from hybridtune.search.run.place import FolderPlace
from hybridtune.search.workers.trainable import TrainingContext, folded_training
from hybridtune.spaces.hybrid import HYBRID

TRIALS = 8
CLAIM_MB = 50.0
TINY, LARGE = 60, 14_500
"""Launches; so many of the latter make a dataset of 1 GB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", type=int, default=LARGE, help="launches of the large dataset")
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arms = {str(tokens): measure(Path(folder) / str(tokens), tokens) for tokens in (TINY, arguments.large)}
    tiny, large = (arm["private_dirty_mb"] for arm in arms.values())
    result = {
        "benchmark": "share_memory",
        "machine": {"cpu": cpu_name(), "cores": cores()},
        "arms": arms,
        "more_per_trial_mb": round(large - tiny, 1),
        "claim": CLAIM_MB,
        "holds": large - tiny <= CLAIM_MB,
    }
    print(json.dumps(result))


def measure(folder: Path, tokens: int) -> dict[str, float]:
    print(f"{tokens} launches", file=sys.stderr)
    generate(SynthConfig(tokens=tokens), folder / "raw")
    # One frozen anchor a series: the evaluation is not what is measured.
    with process_map(cores()) as parallel_map:
        prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=720), parallel_map)
    with local_ray(TRIALS):
        context = TrainingContext(
            place=FolderPlace(folder / "run"),
            dataset=share_dataset(Dataset(folder / "dataset"), other_hosts=False),
            budget=Budget(iterations=2, samples_per_iteration=512),
            hardware=Hardware(),
            rungs=(),
        )
        remote = ray.remote(num_cpus=1)(trained_memory_mb)
        deadline = time.time() + 20 + tokens / 100
        private = ray.get([remote.remote(context, deadline) for _ in range(TRIALS)])
    size = sum(path.stat().st_size for path in (folder / "dataset").iterdir())
    return {
        "private_dirty_mb": round(statistics.median(private), 1),
        "highest_mb": round(max(private), 1),
        "dataset_mb": round(size / 2**20),
    }


def trained_memory_mb(context: TrainingContext, deadline: float) -> float:
    """Trains, waits until the others have trained too, and looks at its own process."""
    import os

    training = folded_training(context, HYBRID.default(), seed=0)
    while not training.finished:
        training.run_iteration()
    time.sleep(max(0.0, deadline - time.time()))
    assert training.history
    return rollup_kb(os.getpid(), "Private_Dirty") / 1024


if __name__ == "__main__":
    main()
