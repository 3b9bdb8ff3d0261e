"""Claim: at 10,000 launches the look at tune takes at most 15% of an iteration.

The default hybrid on the dataset of so many generated launches, on one core, at the samples of an iteration that
`hybridtune launch` has. Each round times the training part of an iteration, the look that ends an ordinary one, and the
look at all frozen anchors, which was at the end of each before; a rung and the end of a trial still have it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import cpu_name
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.hardware import Hardware
from hybridtune.models.training.config import Budget
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.cluster.shared_dataset import share_dataset
from hybridtune.search.run.place import FolderPlace
from hybridtune.search.workers.trainable import TrainingContext, make_training
from hybridtune.spaces.hybrid import HYBRID

CLAIM = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--launches", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the dataset for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(given.folder or Path(temporary), given.launches, given.rounds)))


def measure(folder: Path, launches: int, rounds: int) -> dict[str, object]:
    place = folder / f"dataset-{launches}"
    if not place.exists():
        generate(SynthConfig(tokens=launches), folder / "raw")
        with process_map(cores()) as parallel_map:
            prepare(folder / "raw" / "launches", place, PrepareConfig(), parallel_map)
    dataset = Dataset(place)
    shared = share_dataset(dataset, other_hosts=False)
    context = TrainingContext(FolderPlace(folder), shared, Budget(), Hardware(), ())
    training = make_training(context, HYBRID.default(), 0, dataset)
    parts: dict[str, Callable[[], object]] = {
        "training": training._train,
        "look": lambda: training._look(training._seen, training._seen_y_AH, 1),
        "look_at_all": lambda: training._look(training._anchors, training._y_AH, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - started)
        print(
            f"round {number + 1}: { ({name: round(each[-1], 1) for name, each in seconds.items()}) }", file=sys.stderr
        )
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    now, before = (middle["training"] + middle[name] for name in ("look", "look_at_all"))
    return {
        "benchmark": "look",
        "machine": {"cpu": cpu_name(), "runs_on": training.runs_on},
        "launches": launches,
        "frozen_anchors": len(training._anchors),
        "seconds": {name: round(value, 2) for name, value in middle.items()},
        "share_before": round(middle["look_at_all"] / before, 3),
        "share": round(middle["look"] / now, 3),
        "times_as_fast": round(before / now, 2),
        "claim": CLAIM,
        "holds": middle["look"] / now <= CLAIM,
    }


if __name__ == "__main__":
    main()
