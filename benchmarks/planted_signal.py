"""Claim: on launches with a known signal the ensemble reaches 90% of the oracle's margin, and a hybrid beats the basic.

Reads what `make search` left (run that first). The margin is the test AUC less 0.5; the oracle is the exact Bayesian
filter with the generator's parameters, so its margin is the most that anyone could reach. The hybrids are the
retrained finalists; the claim is about the best configuration, whatever its seed. Their gain over the basic LSTM is
the difference of the mean test AUC over the horizons, with a 95% interval by bootstrap over series, pair by pair on
the same resamples.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hybridtune.models.metrics import Values, bootstrap_auc, horizon_metrics, interval
from hybridtune.search.report.comparison import finished
from hybridtune.search.report.scores import ORACLE, RESAMPLES, with_oracle
from hybridtune.search.run.run_dir import RunDir

CLAIM = 0.9
CLAIMED_HORIZONS = (15, 30, 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demo", type=Path, nargs="?", default=Path("demo"), help="where make search wrote")
    print(json.dumps(measure(parser.parse_args().demo)))


def measure(demo: Path) -> dict[str, object]:
    run = RunDir.open(demo / "run")
    ensemble = finished(run)
    horizons = ensemble.horizons
    frame = with_oracle(pd.read_parquet(run.predictions), demo / "raw" / "oracle.parquet", horizons)
    test = frame[frame["slice"] == "test"]
    aucs = {who: margins_of(test, who, horizons) for who in ("ensemble", ORACLE, *ensemble.members)}
    margins = {h: aucs["ensemble"][h][0] / aucs[ORACLE][h][0] for h in horizons}
    hybrids = [member for member in ensemble.members if member.startswith("trial-")]
    basic = next(member for member, roles in ensemble.roles.items() if "basic" in roles)
    gains = {member: gain(aucs[member], aucs[basic]) for member in hybrids}
    best = ensemble.members[hybrids[0]]
    beaten = all(gains[member]["gain"] > 0 for member in hybrids if ensemble.members[member] == best)
    return {
        "benchmark": "planted_signal",
        "machine": {"torch": torch.__version__},
        "arms": {who: {h: round(0.5 + float(values[h][0]), 4) for h in horizons} for who, values in aucs.items()},
        "share_of_oracle_margin": {h: round(float(margin), 3) for h, margin in margins.items()},
        "gain_of_hybrids_over_basic": gains,
        "claim": CLAIM,
        "holds": beaten and all(margins[h] >= CLAIM for h in CLAIMED_HORIZONS),
    }


def margins_of(test: pd.DataFrame, who: str, horizons: tuple[int, ...]) -> dict[int, Values]:
    """Test AUC less 0.5 for each horizon: of the slice itself, then of RESAMPLES resamples of its series."""
    series_A = pd.factorize(test["series"])[0].astype(np.int64)
    margins: dict[int, Values] = {}
    for horizon in horizons:
        p_A, y_A = test[f"{who}/{horizon}"].to_numpy(), test[f"label/{horizon}"].to_numpy()
        value = horizon_metrics(p_A, y_A).auc
        assert value is not None
        resampled = bootstrap_auc(p_A, y_A, series_A, RESAMPLES, seed=0)
        margins[horizon] = np.concatenate([[value], resampled]) - 0.5
    return margins


def gain(hybrid: dict[int, Values], basic: dict[int, Values]) -> dict[str, float]:
    difference_B = np.mean([hybrid[h] - basic[h] for h in basic], axis=0)
    low, high = interval(difference_B[1:])
    return {"gain": round(float(difference_B[0]), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    main()
