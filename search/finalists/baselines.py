"""Cheap baselines on the same features and anchors: what a search has to beat to be worth its hours.

Logistic regression and gradient-boosted trees, one classifier for each horizon. As they cannot read a sequence, they
are given each feature at the anchor and its means over windows up to it.

Shapes: A anchors, T minutes, F features, C columns, H horizons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from hybridtune.data.batches import by_series, labels_at
from hybridtune.data.schema import SliceName
from hybridtune.data.store import Anchors, Dataset, usable_minutes
from hybridtune.search.finalists.blend_methods import Floats, Labels

LOGISTIC: Final = "logistic"
TREES: Final = "trees"

MEANS: Final = (15, 60, 240)
"""Minutes of the windows whose means are columns, beside the mean since launch."""
MOST_ROWS: Final = 100_000
"""Training anchors. More are thinned evenly: these models gain little from neighbouring minutes."""
MOST_DEVIATIONS: Final = 10.0
"""Standardised columns are cut there, as a price that grows a thousandfold would outweigh all others."""
LEARNING_RATE, MOST_ROUNDS, PATIENCE = 0.05, 500, 20
"""Of the trees."""

Columns = NDArray[np.float32]
Predictor = Callable[[Columns], Floats]
"""x_AC -> p_A"""


@dataclass(frozen=True)
class Rows:
    """Some anchors as a table."""

    x_AC: Columns
    y_AH: Labels


class Baselines:
    """Every baseline, fitted on the train slice of a dataset; tune says when the trees have enough rounds."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self._dataset = dataset
        train, tune = (rows_at(dataset, each) for each in (training_anchors(dataset), dataset.frozen_anchors("tune")))
        rate_H = dataset.info.slices["train"].up_share
        # One thread: OpenMP's threads wait for each other in turn where other processes use the cores.
        with threadpool_limits(limits=1):
            self._predictors = {
                name: [_fit_one(fit, train, tune, h, rate_H[h], seed) for h in range(len(rate_H))]
                for name, fit in FITS.items()
            }

    def predict(self, name: SliceName) -> dict[str, Floats]:
        """Baseline -> p_AH at the frozen anchors of a slice."""
        x_AC = columns_at(self._dataset, self._dataset.frozen_anchors(name))
        with threadpool_limits(limits=1):
            return {
                baseline: np.stack([predictor(x_AC) for predictor in predictors], axis=1)
                for baseline, predictors in self._predictors.items()
            }


def training_anchors(dataset: Dataset) -> Anchors:
    """Anchors of the train slice, a stride apart as the frozen anchors of the other slices are."""
    info = dataset.info
    members = np.sort(dataset.members("train"))
    minutes = []
    for series in members:
        usable = usable_minutes(dataset.y_TH(int(series)))
        minutes.append(usable[(usable - (info.expanding_min - 1)) % info.anchor_stride == 0])
    series_A = np.repeat(members, [len(each) for each in minutes])
    every = -(-len(series_A) // MOST_ROWS)
    return Anchors(series_A[::every], np.concatenate(minutes)[::every])


def rows_at(dataset: Dataset, anchors: Anchors) -> Rows:
    return Rows(columns_at(dataset, anchors), labels_at(dataset, anchors))


def columns_at(dataset: Dataset, anchors: Anchors) -> Columns:
    """x_AC: for each anchor the features at its minute, their means over MEANS and since launch."""
    return np.concatenate([_columns(dataset.x_TF(series), minutes) for series, minutes in by_series(anchors)])


def _columns(x_TF: NDArray[np.float32], minutes: NDArray[np.int64]) -> Columns:
    sum_TF = np.concatenate([np.zeros((1, x_TF.shape[1])), np.cumsum(x_TF, axis=0, dtype=np.float64)])
    parts = [x_TF[minutes]]
    for window in (*MEANS, len(x_TF)):
        first = np.maximum(minutes + 1 - window, 0)
        length = (minutes + 1 - first)[:, None]
        parts.append(((sum_TF[minutes + 1] - sum_TF[first]) / length).astype(np.float32))
    return np.concatenate(parts, axis=1)


def _fit_one(fit: "Fit", train: Rows, tune: Rows, h: int, rate: float, seed: int) -> Predictor:
    """For one horizon. Where train has one class only there is nothing to fit: the base rate."""
    known_A, known_tune_A = train.y_AH[:, h] >= 0, tune.y_AH[:, h] >= 0
    y_A = train.y_AH[known_A, h]
    if len(np.unique(y_A)) < 2:
        return lambda x_AC: np.full(len(x_AC), rate)
    model = fit(train.x_AC[known_A], y_A, tune.x_AC[known_tune_A], tune.y_AH[known_tune_A, h], seed)
    return lambda x_AC: model.predict_proba(x_AC)[:, 1].astype(np.float64)


def _logistic(x_AC: Columns, y_A: Labels, x_tune_AC: Columns, y_tune_A: Labels, seed: int) -> Any:  # noqa: ARG001
    cut = FunctionTransformer(np.clip, kw_args={"a_min": -MOST_DEVIATIONS, "a_max": MOST_DEVIATIONS})
    return make_pipeline(StandardScaler(), cut, LogisticRegression(solver="newton-cholesky")).fit(x_AC, y_A)


def _trees(x_AC: Columns, y_A: Labels, x_tune_AC: Columns, y_tune_A: Labels, seed: int) -> Any:
    model = HistGradientBoostingClassifier(
        learning_rate=LEARNING_RATE,
        max_iter=MOST_ROUNDS,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=seed,
    )
    return model.fit(x_AC, y_A, X_val=x_tune_AC, y_val=y_tune_A)


Fit = Callable[[Columns, Labels, Columns, Labels, int], Any]
"""Columns and labels of train, those of tune, a seed -> a classifier of scikit-learn's."""

FITS: Final[dict[str, Fit]] = {LOGISTIC: _logistic, TREES: _trees}
