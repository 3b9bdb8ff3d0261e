"""Claims: of 100 markets without any signal at most 5 are said to show skill, of markets with one at least 80%; and the
ensemble is at least as good on test as the best single member in 70% of 20 markets with a signal.

Each market is searched anew, quickly: few trials, few iterations, the smallest of models. A market without a signal
is geometric random walks with volumes of their own; one with a signal is what `hybridtune synth` makes with another
seed. Skill is what the report says: an interval, widened for the horizons, above an AUC of 0.5 at any horizon.
Ensemble and best single member, chosen on blend, are compared by the mean log loss over the horizons, and by the mean
AUC.

`--folder` keeps what is known: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.machine import cpu_name
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.metrics import mean_log_loss
from hybridtune.search.cluster.local_ray import Workers
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.finalists.blend import blend
from hybridtune.search.finalists.predictions import ENSEMBLE
from hybridtune.search.finalists.retrain import retrain
from hybridtune.search.report.comparison import BEST_SINGLE, Comparison, compare
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.tuning.tune import search
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Choice, Float

LAUNCHES, MINUTES, SPACING_MINUTES, SIGMA = 300, 500, 360, 0.02
PREPARE = PrepareConfig(horizons=(15, 60), expanding_max=240, anchor_stride=30)
SPACE = HYBRID.with_dimensions(
    {
        "hidden_size": Choice(choices=(32,)),
        "attention_heads": Choice(choices=(2,)),
        "windows": Choice(choices=("15/60", "15")),
        "layers": Choice(choices=(1,)),
        "learning_rate": Float(low=7e-4, high=1e-3, log=True),
    }
)
CLAIM_FALSE, CLAIM_TRUE, CLAIM_ENSEMBLE = 0.05, 0.8, 0.7


@dataclass(frozen=True)
class Market:
    signal: bool
    seed: int
    skill: bool
    gain_loss: float
    """Mean log loss that the ensemble saves over the best single member."""
    gain_auc: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(";")[0])
    parser.add_argument("--without", type=int, default=100, help="markets without a signal")
    parser.add_argument("--planted", type=int, default=20, help="markets with one")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        markets = measure(given.folder or Path(temporary), {False: given.without, True: given.planted})
    print(json.dumps(summary(markets)))


def summary(markets: list[Market]) -> dict[str, object]:
    without, planted = ([m for m in markets if m.signal == signal] for signal in (False, True))
    shares = {
        "skill_without_signal": float(np.mean([m.skill for m in without])),
        "skill_with_signal": float(np.mean([m.skill for m in planted])),
        "ensemble_loses_no_more": float(np.mean([m.gain_loss >= 0 for m in planted])),
        "ensemble_auc_no_lower": float(np.mean([m.gain_auc >= 0 for m in planted])),
    }
    return {
        "benchmark": "skill_claims",
        "machine": {"cpu": cpu_name(), "cores": cores()},
        "markets": {"without_signal": len(without), "with_signal": len(planted)},
        **{name: round(share, 3) for name, share in shares.items()},
        "mean_gain_over_best_single": {
            "log_loss": round(float(np.mean([m.gain_loss for m in planted])), 5),
            "auc": round(float(np.mean([m.gain_auc for m in planted])), 5),
        },
        "claims": {"false": CLAIM_FALSE, "true": CLAIM_TRUE, "ensemble": CLAIM_ENSEMBLE},
        "holds": shares["skill_without_signal"] <= CLAIM_FALSE
        and shares["skill_with_signal"] >= CLAIM_TRUE
        and shares["ensemble_loses_no_more"] >= CLAIM_ENSEMBLE,
    }


def measure(folder: Path, wanted: dict[bool, int]) -> list[Market]:
    folder.mkdir(exist_ok=True)
    log = folder / "markets.jsonl"
    known = [Market(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(market.signal, market.seed) for market in known}
    # By turns: what is stopped early says something of both.
    turns = sorted((seed / count, signal, seed) for signal, count in wanted.items() for seed in range(count))
    with Workers(cores()) as workers:
        for _, signal, seed in turns:
            if (signal, seed) in done:
                continue
            market = searched(folder / "market", signal, seed, workers)
            with log.open("a") as lines:
                lines.write(json.dumps(asdict(market)) + "\n")
            print(market, file=sys.stderr)
            known.append(market)
    return [market for market in known if market.seed < wanted[market.signal]]


def searched(folder: Path, signal: bool, seed: int, workers: Workers) -> Market:
    shutil.rmtree(folder, ignore_errors=True)
    if signal:
        config = SynthConfig(
            LAUNCHES, MINUTES, seed=1000 + seed, spacing_minutes=SPACING_MINUTES, horizons=PREPARE.horizons
        )
        generate(config, folder / "raw")
    else:
        random_walks(folder / "raw" / "launches", seed)
    with process_map(cores()) as parallel_map:
        prepare(folder / "raw" / "launches", folder / "dataset", PREPARE, parallel_map)
    settings = Settings(
        dataset=folder / "dataset",
        dimensions=dict(SPACE.dimensions),
        reference=SPACE.reference,
        trials=4,
        concurrent=cores(),
        iterations=5,
        samples_per_iteration=2048,
        seed=seed,
    )
    run = RunDir.create(folder / "run", settings, Dataset(folder / "dataset").info.fingerprint)
    for stage in (search, retrain):
        stage(run, silent, workers)
    blend(run, silent)
    return scored(compare(run), signal, seed)


def silent(text: str) -> None:
    """What a search says of itself is of no use here."""


def scored(comparison: Comparison, signal: bool, seed: int) -> Market:
    skill = any(score.skill for score in comparison.ensemble.scores.values())
    ensemble, single = (comparison.rows[key] for key in (ENSEMBLE, BEST_SINGLE))
    gain_auc = ensemble.mean_auc - single.mean_auc
    return Market(signal, seed, skill, mean_log_loss(single.metrics) - mean_log_loss(ensemble.metrics), gain_auc)


def random_walks(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    starts = np.datetime64("2025-01-01", "m") + np.cumsum(rng.exponential(SPACING_MINUTES, LAUNCHES)).astype(int)
    for number, start in enumerate(starts):
        bars = {
            "datetime": start + np.arange(MINUTES),
            "price": np.exp(rng.normal(0, SIGMA, MINUTES).cumsum()),
            "volume": np.exp(rng.normal(rng.uniform(5, 12), 1, MINUTES)),
        }
        pd.DataFrame(bars).to_parquet(folder / f"walk{number:03}.parquet")


if __name__ == "__main__":
    main()
