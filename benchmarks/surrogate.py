"""A dense curve table from a sparse one: random configurations with the curves that a forest expects of them.

On a recorded table the closest row stands in for what a sampler draws, which costs samplers that draw freely some of
what they have learnt; a model that chooses among the rows loses nothing. On a dense one a row is close to every draw.
Its curves are smoother than true ones, though: a claim has to hold on both kinds.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from hybridtune.search.replay.choosers import NearestRow
from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.spaces.draws import anywhere

ROWS = 5000
TREES = 50
WORST = 0.9
"""Losses beyond this quantile of the final ones are as bad as that: a forest of means would smear them."""


def dense(table: CurveTable, rows: int = ROWS) -> CurveTable:
    rng = np.random.default_rng(25)
    params = (table.space.default(), *(anywhere(table.space, rng) for _ in range(rows - 1)))
    known_NC = NearestRow(table).points_NC
    worst = float(np.quantile(table.final_N[np.isfinite(table.final_N)], WORST))
    target = np.column_stack([table.tune_NI, table.final_N]).clip(max=worst)
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0).fit(known_NC, target)
    empty = CurveTable(table.name, table.space, params, 0, np.empty((0, 0)), np.empty((0, 0)), np.empty(0), 0.0)
    found: NDArray[np.float64] = forest.predict(NearestRow(empty).points_NC)
    return CurveTable(
        name=f"{table.name}, dense",
        space=table.space,
        params=params,
        default=0,
        tune_NI=found[:, :-1],
        seconds_NI=np.full((rows, table.iterations), float(np.median(table.seconds_NI))),
        final_N=found[:, -1],
        seed_deviation=table.seed_deviation,
    )
