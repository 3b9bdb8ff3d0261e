"""Curve tables that others recorded: recurrent networks of TaskSet (Metz et al. 2020), a parquet file each."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.spaces.parameters import Config, Float, Space

HYPERPARAMETERS = ("learning_rate", "beta1", "beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")
NAMES = tuple(name.replace("beta", "one_minus_beta") for name in HYPERPARAMETERS)
GOOD = (0.05, 0.2)
"""Ranks among which the default is drawn, as shares of the configurations: they recorded none."""


def read_public(path: Path) -> CurveTable:
    """Losses of the validation set stand for tune, those of the test set for blend."""
    frame = pd.read_parquet(path)
    values_ND = _shown(frame[list(HYPERPARAMETERS)])
    params: list[Config] = [dict(zip(NAMES, row, strict=True)) for row in values_ND.tolist()]
    # The first value is from before any training.
    tune_NI, test_NI = (np.array(frame[name].tolist(), dtype=np.float64)[:, 1:] for name in ("valid_loss", "test_loss"))
    failed_NI = np.logical_or.accumulate(~np.isfinite(tune_NI), axis=1)
    tune_NI = np.where(failed_NI, np.inf, tune_NI)
    best_N = np.argmin(tune_NI, axis=1)
    final_N = np.where(failed_NI.any(axis=1), np.inf, np.take_along_axis(test_NI, best_N[:, None], axis=1)[:, 0])
    ranked = np.argsort(final_N)[: np.isfinite(final_N).sum()]
    place = np.random.default_rng(25).uniform(*GOOD)
    default = int(ranked[int(place * (len(ranked) - 1))])
    ranges = zip(NAMES, values_ND.min(axis=0).tolist(), values_ND.max(axis=0).tolist(), strict=True)
    return CurveTable(
        name=path.stem,
        space=Space(
            path.stem, {name: Float(low=low, high=high, log=True) for name, low, high in ranges}, params[default]
        ),
        params=tuple(params),
        default=default,
        tune_NI=tune_NI,
        seconds_NI=np.ones_like(tune_NI),
        final_N=final_N,
        seed_deviation=float("nan"),
    )


def _shown(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Betas as what they lack of one: these were drawn in their logarithm."""
    betas = [name for name in HYPERPARAMETERS if name.startswith("beta")]
    return frame.assign(**{name: 1 - frame[name] for name in betas}).to_numpy(dtype=np.float64)
