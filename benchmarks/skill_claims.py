"""Claims: without a signal skill is claimed in at most 5% of markets, with one in at least 80%; and the ensemble is at
least as good on test as the best single member in 70% of 20 markets with a signal.

Two kinds of markets without a signal. Frames: forecasts on random walks with a common factor, scored as a run's stored
predictions are, hundreds for each cell of market share, days of launches and kind of forecast (see null_markets); the
upper 95% bound of false claims is at most 8% in each cell. Searched: the whole path from files to the verdict, quickly:
few trials, few iterations, the smallest of models, on random walks of which up to half the variance is the market's.
A market with a signal is what `hybridtune synth` makes with another seed.

Skill is what the report claims at any horizon. Ensemble and best single member, chosen on blend, are compared by the
mean log loss over the horizons, and by the mean AUC.

`--folder` keeps what is known: a benchmark that was stopped goes on from there (one folder for each `--launches`).
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from benchmarks.machine import cpu_name
from benchmarks.null_markets import FORECASTS, NullMarket
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.metrics import mean_log_loss
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.finalists.blend import blend
from hybridtune.search.finalists.predictions import ENSEMBLE
from hybridtune.search.finalists.retrain import retrain
from hybridtune.search.report.comparison import BEST_SINGLE, Comparison, compare
from hybridtune.search.report.scores import score
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.tuning.tune import search
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Choice, Float

MINUTES, SIGMA = 500, 0.02
SPACING_MINUTES = 360
"""Between two launches with a signal, as in the demo."""
CROWDED_MINUTES = 60
"""Without one: the closer the launches, the more of a market they share."""
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
MARKET_SHARES = (0.0, 0.2, 0.5)
DAYS = (10 / 24, 1, 2, 10, 30)
CLAIM_FALSE, CLAIM_FALSE_BOUND, CLAIM_TRUE, CLAIM_ENSEMBLE = 0.05, 0.08, 0.8, 0.7


@dataclass(frozen=True)
class Market:
    signal: bool
    seed: int
    skill: bool
    gain_loss: float
    """Mean log loss that the ensemble saves over the best single member."""
    gain_auc: float


@dataclass(frozen=True)
class Cell:
    market: NullMarket
    markets: int
    claims: int

    @property
    def share(self) -> float:
        return self.claims / self.markets

    @property
    def bound(self) -> float:
        """Upper 95% bound of the share, exact (Clopper and Pearson 1934)."""
        return float(beta.ppf(0.95, self.claims + 1, self.markets - self.claims))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(";")[0])
    parser.add_argument("--frames", type=int, default=300, help="markets of each cell")
    parser.add_argument("--without", type=int, default=60, help="searched markets without a signal")
    parser.add_argument("--planted", type=int, default=20, help="searched markets with one")
    parser.add_argument("--launches", type=int, default=300, help="of a searched market; the demo has 1000")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    machine = {"cpu": cpu_name(), "cores": cores()}
    framed = frames_summary(measure_frames(given.frames)) if given.frames else {}
    with tempfile.TemporaryDirectory() as temporary:
        wanted = {signal: count for signal, count in ((False, given.without), (True, given.planted)) if count}
        searched_markets = measure(given.folder or Path(temporary), wanted, given.launches) if wanted else []
    print(
        json.dumps(
            {"benchmark": "skill_claims", "machine": machine, "frames": framed}
            | (summary(searched_markets) if searched_markets else {})
        )
    )


def measure_frames(markets: int) -> list[Cell]:
    cells = [NullMarket(share, days, kind) for kind in FORECASTS for share in MARKET_SHARES for days in DAYS]
    with process_map(cores()) as parallel_map:
        return list(parallel_map(partial(claims_in, markets=markets), cells))


def claims_in(market: NullMarket, markets: int) -> Cell:
    claims = sum(
        any(found.skill for found in score(market.predictions(seed), ENSEMBLE).values()) for seed in range(markets)
    )
    return Cell(market, markets, claims)


def frames_summary(cells: list[Cell]) -> dict[str, object]:
    worst = max(cells, key=lambda cell: cell.claims)
    return {
        "markets_of_each_cell": worst.markets,
        "cells": len(cells),
        "false_claims": {
            f"{cell.market.forecast}, market {cell.market.market_share:.0%}, {cell.market.days:.3g} days": cell.share
            for cell in cells
            if cell.claims
        },
        "largest": worst.share,
        "largest_bound": round(worst.bound, 4),
        "holds": worst.share <= CLAIM_FALSE and worst.bound <= CLAIM_FALSE_BOUND,
    }


def summary(markets: list[Market]) -> dict[str, object]:
    without, planted = ([m for m in markets if m.signal == signal] for signal in (False, True))
    measured: dict[str, object] = {"markets": {"without_signal": len(without), "with_signal": len(planted)}}
    holds = []
    if without:
        claimed = float(np.mean([m.skill for m in without]))
        measured |= {"skill_without_signal": round(claimed, 3), "claim_false": CLAIM_FALSE}
        holds.append(claimed <= CLAIM_FALSE)
    if planted:
        claimed = float(np.mean([m.skill for m in planted]))
        no_more = float(np.mean([m.gain_loss >= 0 for m in planted]))
        measured |= {
            "skill_with_signal": round(claimed, 3),
            "claim_true": CLAIM_TRUE,
            "ensemble_loses_no_more": round(no_more, 3),
            "claim_ensemble": CLAIM_ENSEMBLE,
            "ensemble_auc_no_lower": round(float(np.mean([m.gain_auc >= 0 for m in planted])), 3),
            "mean_gain_over_best_single": {
                "log_loss": round(float(np.mean([m.gain_loss for m in planted])), 5),
                "auc": round(float(np.mean([m.gain_auc for m in planted])), 5),
            },
        }
        holds += [claimed >= CLAIM_TRUE, no_more >= CLAIM_ENSEMBLE]
    return measured | {"holds": all(holds)}


def measure(folder: Path, wanted: dict[bool, int], launches: int) -> list[Market]:
    folder.mkdir(exist_ok=True)
    log = folder / "markets.jsonl"
    known = [Market(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(market.signal, market.seed) for market in known}
    # By turns: what is stopped early says something of both.
    turns = sorted((seed / count, signal, seed) for signal, count in wanted.items() for seed in range(count))
    with OwnWorkers() as workers:
        for _, signal, seed in turns:
            if (signal, seed) in done:
                continue
            market = searched(folder / "market", signal, seed, launches, workers)
            with log.open("a") as lines:
                lines.write(json.dumps(asdict(market)) + "\n")
            print(market, file=sys.stderr)
            known.append(market)
    return [market for market in known if market.seed < wanted.get(market.signal, 0)]


def searched(folder: Path, signal: bool, seed: int, launches: int, workers: OwnWorkers) -> Market:
    shutil.rmtree(folder, ignore_errors=True)
    if signal:
        config = SynthConfig(
            launches, MINUTES, seed=1000 + seed, spacing_minutes=SPACING_MINUTES, horizons=PREPARE.horizons
        )
        generate(config, folder / "raw")
    else:
        random_walks(folder / "raw" / "launches", launches, seed)
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


def random_walks(folder: Path, launches: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    share = MARKET_SHARES[seed % len(MARKET_SHARES)]
    start_M = np.cumsum(rng.exponential(CROWDED_MINUTES, launches)).astype(int)
    common_T = np.sqrt(share) * rng.normal(0, SIGMA, start_M[-1] + MINUTES)
    for number, start in enumerate(start_M):
        own_T = np.sqrt(1 - share) * rng.normal(0, SIGMA, MINUTES)
        bars = {
            "datetime": np.datetime64("2025-01-01", "m") + start + np.arange(MINUTES),
            "price": np.exp((own_T + common_T[start : start + MINUTES]).cumsum()),
            "volume": np.exp(rng.normal(rng.uniform(5, 12), 1, MINUTES)),
        }
        pd.DataFrame(bars).to_parquet(folder / f"walk{number:03}.parquet")


if __name__ == "__main__":
    main()
