"""Claim: anchors that share runs of the windows' LSTMs lose no AUC beyond what another seed changes, and no log loss.

The default hybrid, or basic LSTM, in both ways, with the same seeds, on generated markets of seeds that nothing was
tuned on and on the folders of real series that are given. Each training keeps the weights of its best tune loss; what
is compared is tune, as this is a choice of a default. A difference is that of two trainings with one seed; its
interval covers 95% of what markets and seeds change, by Student's t over the markets. The spread of seeds is their
standard deviation within a market.

`--folder` keeps what was found: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from scipy.stats import t as student_t

from benchmarks.machine import cpu_name
from benchmarks.training import new_training
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.training.config import Budget
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.spaces.load import SHIPPED

MARKETS = (301, 302, 303, 304, 305)
"""Seeds of the generated ones."""
WAYS = ("own", "shared")


@dataclass(frozen=True)
class Arm:
    space: str
    market: str
    seed: int
    way: str


@dataclass(frozen=True)
class Trained:
    arm: Arm
    log_loss: float
    auc: float
    iterations: int
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("real", type=Path, nargs="*", help="folders of real series")
    parser.add_argument("--space", choices=("hybrid", "basic"), default="hybrid")
    parser.add_argument("--launches", type=int, default=400)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, process_map(cores()) as parallel_map:
        folder = given.folder or Path(temporary)
        markets = list(prepared(folder, given.real, given.launches))
        seeds = range(given.seeds)
        arms = [Arm(given.space, market, seed, way) for seed in seeds for market in markets for way in WAYS]
        budget = Budget(iterations=given.iterations, samples_per_iteration=4096, tune_anchors=10**6)
        found = list(parallel_map(partial(train, folder=folder, budget=budget), arms))
    said = {"benchmark": "window_runs", "machine": {"cpu": cpu_name()}, "space": given.space}
    print(json.dumps(said | compared(found)))


def prepared(folder: Path, real: list[Path], launches: int) -> Iterator[str]:
    """Names of markets; each has its dataset in the folder."""
    for seed in MARKETS:
        name = f"market-{seed}"
        if not (folder / name).exists():
            generate(SynthConfig(tokens=launches, seed=seed), folder / f"raw-{seed}")
            prepare(folder / f"raw-{seed}" / "launches", folder / name, PrepareConfig(anchor_stride=30), map)
        yield name
    for raw in real:
        if not (folder / raw.name).exists():
            prepare(raw, folder / raw.name, PrepareConfig(anchor_stride=30), map)
        yield raw.name


def train(arm: Arm, folder: Path, budget: Budget) -> Trained:
    """In a process that trains as a trial does."""
    kept = folder / f"{arm.space}-{arm.market}-{arm.seed}-{arm.way}.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        return Trained(arm, **known)
    dataset = Dataset(folder / arm.market)
    params = dict(SHIPPED[arm.space].default()) | {"window_runs": arm.way}
    training = new_training(dataset, params, budget, arm.seed)
    started = time.process_time()
    while not training.finished:
        training.run_iteration()
    spent = time.process_time() - started
    best = min(training.history, key=lambda progress: progress.tune_loss)
    trained = Trained(arm, best.tune_loss, best.tune_auc, training.iteration, spent)
    kept.write_text(json.dumps({name: value for name, value in asdict(trained).items() if name != "arm"}))
    return trained


def compared(found: list[Trained]) -> dict[str, object]:
    of = {(each.arm.market, each.arm.seed, each.arm.way): each for each in found}
    markets = sorted({each.arm.market for each in found})
    seeds = sorted({each.arm.seed for each in found})
    result: dict[str, object] = {}
    for name in ("auc", "log_loss"):
        differences = [
            statistics.mean(getattr(of[m, s, "shared"], name) - getattr(of[m, s, "own"], name) for s in seeds)
            for m in markets
        ]
        half = student_t.ppf(0.975, len(markets) - 1) * statistics.stdev(differences) / len(markets) ** 0.5
        middle = statistics.mean(differences)
        spreads = [statistics.stdev(getattr(of[m, s, w], name) for s in seeds) for m in markets for w in WAYS]
        result[name] = {
            "own": {m: round(statistics.mean(getattr(of[m, s, "own"], name) for s in seeds), 4) for m in markets},
            "shared": {m: round(statistics.mean(getattr(of[m, s, "shared"], name) for s in seeds), 4) for m in markets},
            "shared_less_own": [round(value, 5) for value in (middle, middle - half, middle + half)],
            "spread_of_seeds": round(statistics.mean(spreads), 5),
        }
    seconds = {way: statistics.mean(e.cpu_seconds / e.iterations for e in found if e.arm.way == way) for way in WAYS}
    return result | {"cpu_seconds_an_iteration": {way: round(value, 2) for way, value in seconds.items()}}


if __name__ == "__main__":
    main()
