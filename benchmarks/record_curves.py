"""Records a curve table: configurations of small hybrids on one market, each trained to the full budget.

It claims nothing; what replays it does. One row after another is trained and written to
benchmarks/curves/MARKET.parquet, so it may be stopped at any time and goes on from there, on any machine. In their
order: the default, 280 uniform draws and 99 near the default, mixed, the first 60 uniform ones before all others; then
two more seeds of those 60.
`--half-warmup` records the 60 alone, with a warm-up of half an iteration in place of a whole one, beside it.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.training import new_training
from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.loss_and_auc import loss_and_auc
from hybridtune.models.training import optimizer
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import NonFiniteLossError, predict_slice
from hybridtune.search.cluster.maps import process_map
from hybridtune.search.replay.curve_table import Recorded, TableInfo, read_rows, write_rows
from hybridtune.spaces.draws import anywhere, near
from hybridtune.spaces.load import load_space
from hybridtune.spaces.parameters import Config, Space
from hybridtune.spaces.trial_config import Shape

CURVES = Path(__file__).parent / "curves"
SPACE = CURVES / "space.yaml"
BUDGET = Budget(iterations=100, samples_per_iteration=1024, patience=100, tune_anchors=10**9)
UNIFORM, NEAR, PILOT = 280, 99, 60
MORE_SEEDS = (1, 2)
HALF_AN_ITERATION = 0.5 / BUDGET.iterations
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Market:
    words: str
    launches: int | None
    """Generated ones; None for real series, whose folder is given."""


MARKETS = {
    "generated": Market("300 generated launches of 1,440 minutes, seed 41", 300),
    "binance_um_2025": Market("16 perpetual contracts of May and June 2025, 192 windows", None),
}


@dataclass(frozen=True)
class Row:
    configuration: int
    origin: str
    seed: int
    params: Config


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("market", choices=MARKETS)
    parser.add_argument("real", type=Path, nargs="?", help="folder of the real series")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", type=int, default=10**9, help="stop after so many new ones")
    parser.add_argument("--half-warmup", action="store_true")
    given = parser.parse_args()
    os.nice(19)
    with tempfile.TemporaryDirectory() as folder, process_map(given.processes) as parallel_map:
        dataset = prepared(Path(folder), given.market, given.real)
        name = f"{given.market}-half-warmup" if given.half_warmup else given.market
        path = CURVES / f"{name}.parquet"
        space = load_space(str(SPACE), Shape.of(dataset.info))
        info = table_info(name, MARKETS[given.market].words, BUDGET, dataset, space)
        wanted = list(pilot(space) if given.half_warmup else all_rows(space))
        known = known_rows(path, info, wanted)
        done = {(row.configuration, row.seed) for row in known}
        left = [row for row in wanted if (row.configuration, row.seed) not in done][: given.rows]
        train = partial(record, path=Path(folder) / "dataset", half_warmup=given.half_warmup)
        for recorded in parallel_map(train, left):
            known.append(recorded)
            write_rows(path, info, known)
            print(f"{len(known)} rows, {sum(recorded.seconds):.0f} s", flush=True)


def prepared(folder: Path, name: str, real: Path | None) -> Dataset:
    market = MARKETS[name]
    if market.launches is not None:
        generate(SynthConfig(tokens=market.launches, seed=41), folder / "raw")
        real = folder / "raw" / "launches"
    if real is None:
        raise SystemExit(f"{name} needs the folder of its series")
    prepare(real, folder / "dataset", PrepareConfig(anchor_stride=60), map)
    return Dataset(folder / "dataset")


def known_rows(path: Path, info: TableInfo, wanted: list[Row]) -> list[Recorded]:
    """Those that the table holds. They go with new ones only if all are of the same data, budget and configurations."""
    if not path.exists():
        return []
    recorded, rows = read_rows(path)
    params = {(row.configuration, row.seed): row.params for row in wanted}
    if recorded != info or any(params.get((row.configuration, row.seed)) != row.params for row in rows):
        raise SystemExit(f"{path} was recorded of other data, budgets or configurations than these: move it away")
    return rows


def table_info(name: str, market: str, budget: Budget, dataset: Dataset, space: Space) -> TableInfo:
    """market: what was learnt, for people."""
    return TableInfo(
        name=name,
        market=market,
        dataset=dataset.info.fingerprint,
        iterations=budget.iterations,
        samples_per_iteration=budget.samples_per_iteration,
        space_name=space.name,
        dimensions=dict(space.dimensions),
        reference=space.reference,
    )


def configurations(space: Space) -> list[Row]:
    """All with seed 0, in the order in which they are recorded."""
    rng = np.random.default_rng(25)
    uniform = [Row(1 + number, "uniform", 0, anywhere(space, rng)) for number in range(UNIFORM)]
    neighbours = [Row(1 + UNIFORM + number, "near", 0, near(space, space.default(), rng)) for number in range(NEAR)]
    later = [*uniform[PILOT:], *neighbours]
    mixed = [later[place] for place in rng.permutation(len(later))]
    return [Row(0, "default", 0, space.default()), *uniform[:PILOT], *mixed]


def all_rows(space: Space) -> Iterator[Row]:
    first = configurations(space)
    yield from first
    for seed in MORE_SEEDS:
        yield from (Row(row.configuration, row.origin, seed, row.params) for row in first[: 1 + PILOT])


def pilot(space: Space) -> list[Row]:
    return configurations(space)[: 1 + PILOT]


def record(row: Row, path: Path, half_warmup: bool) -> Recorded:
    with patch.object(optimizer, "WARMUP", HALF_AN_ITERATION if half_warmup else optimizer.WARMUP):
        return trained(row, Dataset(path), BUDGET)


def trained(row: Row, dataset: Dataset, budget: Budget) -> Recorded:
    training = new_training(dataset, row.params, budget, row.seed)
    blend_AH = frozen_labels(dataset, "blend")
    held_out: list[float] = []
    failed = False
    while not training.finished and not failed:
        try:
            training.run_iteration()
        except NonFiniteLossError:
            failed = True
        else:
            held_out.append(loss_and_auc(predict_slice(training.model, dataset, "blend", CPU, "fp32"), blend_AH)[0])
    return Recorded(
        configuration=row.configuration,
        origin=row.origin,
        seed=row.seed,
        params=row.params,
        failed=failed,
        tune_loss=[progress.tune_loss for progress in training.history],
        held_out_loss=held_out,
        train_loss=[progress.train_loss for progress in training.history],
        seconds=[progress.seconds for progress in training.history],
    )


if __name__ == "__main__":
    main()
