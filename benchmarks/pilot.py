"""Claim: the first rung may lie at an iteration of at most 3, where the best third holds four in five of those
configurations whose tune loss is the best at last.

It reads what `record_curves generated`, with and without `--half-warmup`, has recorded: the uniform configurations that
both tables have, one seed each. Halving by three keeps a third of them at its first rung; what it has lost there of the
final best 5% it never finds. Shares beside 5% are told because that is three configurations in sixty. How far tune
ranks as held-out data do is told too: what a search finds of the one is worth so much for the other.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.machine import cpu_name
from benchmarks.record_curves import CURVES, PILOT
from hybridtune.search.replay.curve_table import CurveTable, Floats, Recorded, TableInfo, read_rows

WARMUPS = {"one iteration": "generated", "half an iteration": "generated-half-warmup"}
ITERATIONS = (1, 2, 3, 4, 5, 9, 12, 18, 27)
REDUCTION_FACTOR = 3
BEST = (0.05, 0.1, 0.2)
RECALL, LATEST = 0.8, 3


def main() -> None:
    recorded = {words: read_rows(CURVES / f"{name}.parquet") for words, name in WARMUPS.items()}
    pilots = {words: (info, list(filter(of_pilot, rows))) for words, (info, rows) in recorded.items()}
    both = set.intersection(*({row.configuration for row in rows} for _, rows in pilots.values()))
    found = {
        words: judged(info, [row for row in rows if row.configuration in both])
        for words, (info, rows) in pilots.items()
    }
    rungs = {words: first_rung(one["recall"][f"{BEST[0]:.0%}"]) for words, one in found.items()}
    print(
        json.dumps(
            {
                "benchmark": "pilot",
                "machine": {"cpu": cpu_name()},
                "configurations": len(both) - 1,
                "wanted": PILOT,
                "iterations": ITERATIONS,
                "warmups": found,
                "first_rung": rungs,
                "holds": {words: rung is not None and rung <= LATEST for words, rung in rungs.items()},
            }
        )
    )


def of_pilot(row: Recorded) -> bool:
    return row.seed == 0 and row.configuration <= PILOT


def judged(info: TableInfo, rows: Sequence[Recorded]) -> dict[str, Any]:
    table = CurveTable.of(info, rows)
    others = np.arange(len(table.params)) != table.default
    so_far_NI = np.minimum.accumulate(table.tune_NI[others], axis=1)
    end_N, held_out_N = so_far_NI[:, -1], table.final_N[others]
    now = [so_far_NI[:, iteration - 1] for iteration in ITERATIONS]
    return {
        "recall": {f"{share:.0%}": [recall(now_N, end_N, share) for now_N in now] for share in BEST},
        "rank_correlation": [rank_correlation(now_N, end_N) for now_N in now],
        "rank_correlation_with_held_out": [rank_correlation(now_N, held_out_N) for now_N in (*now, end_N)],
        "worse_than_best": {
            "default": round(float(table.final_N[table.default] - table.final_N.min()), 4),
            "median": round(float(np.median(table.final_N) - table.final_N.min()), 4),
        },
    }


def rank_correlation(first_N: Floats, second_N: Floats) -> float:
    return round(float(spearmanr(first_N, second_N).statistic), 2)


def recall(now_N: Floats, final_N: Floats, share: float) -> float:
    """Of the best by `final_N`, so large a share of all, the share that is in the best third by `now_N`."""
    best = np.argsort(final_N, kind="stable")[: max(1, round(share * len(final_N)))]
    kept = np.argsort(now_N, kind="stable")[: len(now_N) // REDUCTION_FACTOR]
    return round(float(np.isin(best, kept).mean()), 3)


def first_rung(recalls: Sequence[float]) -> int | None:
    """The earliest iteration that holds enough of the best; None if none does."""
    return next((iteration for iteration, found in zip(ITERATIONS, recalls, strict=True) if found >= RECALL), None)


if __name__ == "__main__":
    main()
