"""Claim: on launches with a known signal the ensemble reaches 90% of the oracle's margin, and a hybrid beats the basic.

Reads what `make search` left (run that first). The margin is the test AUC less 0.5; the oracle is the exact Bayesian
filter with the generator's parameters, so its margin is the most that anyone could reach. The hybrids are the
retrained finalists; the claim is about the best configuration, whatever its seed. Their gain over the basic LSTM is
the difference of the mean test AUC over the horizons, with a 95% interval by jackknife over
blocks of calendar time.
"""

import argparse
import json
from pathlib import Path

import torch

from hybridtune.models.metrics import horizon_metrics
from hybridtune.search.finalists.baselines import LOGISTIC, TREES
from hybridtune.search.finalists.predictions import ENSEMBLE, StoredPredictions
from hybridtune.search.report.blocks import Estimate
from hybridtune.search.report.comparison import finished
from hybridtune.search.report.scores import ORACLE, auc_gain, with_oracle
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
    test = with_oracle(StoredPredictions.read(run, horizons), demo / "raw" / "oracle.parquet").slice("test")
    aucs = {who: auc_of(test, who) for who in (ENSEMBLE, LOGISTIC, TREES, ORACLE, *ensemble.members)}
    margins = {h: (aucs[ENSEMBLE][h] - 0.5) / (aucs[ORACLE][h] - 0.5) for h in horizons}
    hybrids = [member for member in ensemble.members if member.startswith("trial-")]
    basic = next(member for member, roles in ensemble.roles.items() if "basic" in roles)
    gains = {member: auc_gain(test, member, basic).estimate for member in hybrids}
    best = ensemble.members[hybrids[0]]
    beaten = all(gains[member].value > 0 for member in hybrids if ensemble.members[member] == best)
    return {
        "benchmark": "planted_signal",
        "machine": {"torch": torch.__version__},
        "arms": {who: {h: round(value, 4) for h, value in values.items()} for who, values in aucs.items()},
        "share_of_oracle_margin": {h: round(margin, 3) for h, margin in margins.items()},
        "gain_of_hybrids_over_basic": {member: rounded(estimate) for member, estimate in gains.items()},
        "claim": CLAIM,
        "holds": beaten and all(margins[h] >= CLAIM for h in CLAIMED_HORIZONS),
    }


def auc_of(test: StoredPredictions, who: str) -> dict[int, float]:
    """Horizon -> test AUC."""
    aucs = {}
    for horizon in test.horizons:
        value = horizon_metrics(test.p_A(who, horizon), test.label_A(horizon)).auc
        assert value is not None
        aucs[horizon] = value
    return aucs


def rounded(gain: Estimate) -> dict[str, float]:
    return {"gain": round(gain.value, 4), "low": round(gain.low, 4), "high": round(gain.high, 4)}


if __name__ == "__main__":
    main()
