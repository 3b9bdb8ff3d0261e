"""Claim: on one of these generated markets, all fixed beforehand, the best of 24 random configurations is better than
the reference configuration by several times what another seed changes: there a demo could show what a search buys.

Few launches, where what is learnt by heart counts for more; small hybrids, 30 iterations. The best is chosen by its
tune loss, as a search would; what both are worth is the held-out loss of the blend slice, in the mean of five seeds
each. The test slice is not looked at.

`--folder` keeps every training: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import cpu_name
from benchmarks.record_curves import SPACE, Row, configurations, known_rows, table_info, trained
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.training.config import Budget
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.replay.curve_table import Recorded, TableInfo, held_out_at_best, write_rows
from hybridtune.spaces.load import load_space
from hybridtune.spaces.trial_config import Shape

LAUNCHES = (60, 120)
BUDGET = Budget(iterations=30, samples_per_iteration=1024, patience=30, tune_anchors=10**9)
RANDOM, SEEDS = 24, 5
SEVERAL = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    os.nice(19)
    with tempfile.TemporaryDirectory() as temporary, process_map(cores()) as parallel_map:
        folder = given.folder or Path(temporary)
        found = {launches: judged(folder / str(launches), launches, parallel_map) for launches in LAUNCHES}
    holds = any(one["in_seed_deviations"] >= SEVERAL for one in found.values())
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "default_regret", "machine": machine, "launches": found, "holds": holds}))


def judged(folder: Path, launches: int, parallel_map: ParallelMap) -> dict[str, float]:
    if not (folder / "dataset").exists():
        generate(SynthConfig(tokens=launches, seed=41), folder / "raw")
        prepare(folder / "raw" / "launches", folder / "dataset", PrepareConfig(anchor_stride=60), map)
    dataset = Dataset(folder / "dataset")
    space = load_space(str(SPACE), Shape.of(dataset.info))
    words = f"{launches} generated launches, seed 41"
    info = table_info(f"{launches} launches", words, BUDGET, dataset, space)
    default, *others = configurations(space)[: 1 + RANDOM]
    every = [row for configuration in (default, *others) for row in seeds_of(configuration)]
    train = partial(recorded, folder, info, parallel_map, every)
    first = train([*seeds_of(default), *others])
    best = min(first[SEEDS:], key=lambda row: min(row.tune_loss) if not row.failed else np.inf)
    chosen = next(row for row in others if row.configuration == best.configuration)
    theirs = np.array([held_out_at_best(row) for row in first[:SEEDS]])
    ours = np.array([held_out_at_best(row) for row in train(seeds_of(chosen))])
    deviation = float(np.sqrt((theirs.var(ddof=1) + ours.var(ddof=1)) / 2))
    gain = float(theirs.mean() - ours.mean())
    said = {"reference": theirs.mean(), "best": ours.mean(), "gain": gain, "seed_deviation": deviation}
    return {name: round(float(value), 5) for name, value in said.items()} | {
        "configuration": chosen.configuration,
        "in_seed_deviations": round(gain / deviation, 1),
    }


def seeds_of(row: Row) -> list[Row]:
    return [Row(row.configuration, row.origin, seed, row.params) for seed in range(SEEDS)]


def recorded(
    folder: Path, info: TableInfo, parallel_map: ParallelMap, every: list[Row], wanted: Sequence[Row]
) -> list[Recorded]:
    """Those wanted, in their order; what the folder has of them is not trained again. every: that it may have."""
    path = folder / "rows.parquet"
    known = known_rows(path, info, every)
    done = {(row.configuration, row.seed) for row in known}
    left = [row for row in wanted if (row.configuration, row.seed) not in done]
    for row in parallel_map(partial(train_one, folder / "dataset"), left):
        known.append(row)
        write_rows(path, info, known)
    by_key = {(row.configuration, row.seed): row for row in known}
    return [by_key[row.configuration, row.seed] for row in wanted]


def train_one(path: Path, row: Row) -> Recorded:
    return trained(row, Dataset(path), BUDGET)


if __name__ == "__main__":
    main()
