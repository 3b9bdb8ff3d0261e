"""Ensemble weights, fitted and chosen on the blend slice; then the one look at the sealed test slice.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize

from data.batches import frozen_labels
from data.document import Document
from data.schema import SliceName
from data.store import Dataset
from models.fit import predict_slice
from models.metrics import EPSILON, HorizonMetrics, all_metrics, mean_log_loss
from search.console import Say
from search.members import failed_members, load_member, members
from search.run_dir import RunDir

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

FOLDS = 5
SHRINKAGE = 0.01
"""Weight of the squared distance from uniform weights: a few hundred correlated anchors fit noise."""
SMALLEST_WEIGHT = 1e-3

ENSEMBLE: Final = "ensemble"
CONSTANT: Final = "constant"
"""Of predictions.parquet: always the share of rises in train."""


class MethodResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    cross_validated_log_loss: float
    """On the blend slice; the lowest chooses the method."""
    weights: dict[str, tuple[float, ...]]
    """Member -> weight for each horizon; they sum to one over the members."""
    blend: tuple[HorizonMetrics, ...]
    test: tuple[HorizonMetrics, ...]


class EnsembleDocument(Document):
    """ensemble.json"""

    horizons: tuple[int, ...]
    method: str
    methods: dict[str, MethodResult]
    best_single: str
    """The member with the lowest log loss on the blend slice."""
    members: dict[str, str]
    """Member -> where its configuration is from."""
    left_out: dict[str, str]
    """Members whose loss was not finite -> what happened."""
    configurations_tried: int


@dataclass(frozen=True)
class Predictions:
    """What every member said at the frozen anchors of a slice."""

    p_NAH: Floats
    y_AH: Labels
    series_A: NDArray[np.int64]
    minute_A: NDArray[np.int64]

    @property
    def series(self) -> list[int]:
        """In order of launch."""
        return list(dict.fromkeys(self.series_A.tolist()))


def best_single(p_NAH: Floats, y_AH: Labels) -> Floats:
    """weights_NH: all on the member with the lowest mean log loss over the horizons that have a known label."""
    known_H = (y_AH >= 0).any(axis=0)
    if not known_H.any():
        return uniform(p_NAH, y_AH)
    losses_N = [mean_log_loss(all_metrics(p_AH[:, known_H], y_AH[:, known_H])) for p_AH in p_NAH]
    weights_NH = np.zeros((p_NAH.shape[0], p_NAH.shape[2]))
    weights_NH[np.argmin(losses_N)] = 1.0
    return weights_NH


def uniform(p_NAH: Floats, y_AH: Labels) -> Floats:  # noqa: ARG001 the one signature of a method
    return np.full((p_NAH.shape[0], p_NAH.shape[2]), 1 / p_NAH.shape[0])


def convex(p_NAH: Floats, y_AH: Labels) -> Floats:
    """Weights of each horizon on the simplex that minimise its log loss, shrunk towards uniform."""
    columns = [_convex_weights(p_NAH[:, :, h], y_AH[:, h]) for h in range(p_NAH.shape[2])]
    return np.stack(columns, axis=1)


METHODS: Mapping[str, Callable[[Floats, Labels], Floats]] = {
    "uniform": uniform,
    "convex": convex,
    "best_single": best_single,
}
"""In case of a tie the first wins."""


def mix(p_NAH: Floats, weights_NH: Floats) -> Floats:
    """p_AH: the weighted mean of the members' probabilities."""
    p_AH: Floats = np.einsum("nah,nh->ah", p_NAH, weights_NH)
    return p_AH


def cross_validated_log_loss(method: Callable[[Floats, Labels], Floats], predictions: Predictions) -> float:
    """Mean log loss on held-out blocks of series that launched one after another; needs two series."""
    series = predictions.series
    p_AH = np.full(predictions.y_AH.shape, np.nan)
    for block in np.array_split(np.array(series), min(FOLDS, len(series))):
        held_A = np.isin(predictions.series_A, block)
        fitted = method(predictions.p_NAH[:, ~held_A], predictions.y_AH[~held_A])
        p_AH[held_A] = mix(predictions.p_NAH[:, held_A], fitted)
    return mean_log_loss(all_metrics(p_AH, predictions.y_AH))


def blend(run: RunDir, say: Say) -> None:
    """Writes predictions.parquet and ensemble.json. The test slice is read after everything is fitted."""
    dataset = run.open_dataset()
    chosen = members(run)
    ids = [member.id for member in chosen]
    fitting = predict(run, dataset, "blend")
    losses = method_losses(fitting)
    winner = min(losses, key=lambda name: losses[name])
    weights = {name: METHODS[name](fitting.p_NAH, fitting.y_AH) for name in losses}
    say("blending: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()) + f"; chosen: {winner}")

    test = predict(run, dataset, "test")
    write_predictions(run, dataset, ids, weights[winner], {"blend": fitting, "test": test})
    EnsembleDocument(
        horizons=dataset.info.horizons,
        method=winner,
        methods={
            name: MethodResult(
                cross_validated_log_loss=losses[name],
                weights={member: tuple(row) for member, row in zip(ids, weights[name].tolist(), strict=True)},
                blend=all_metrics(mix(fitting.p_NAH, weights[name]), fitting.y_AH),
                test=all_metrics(mix(test.p_NAH, weights[name]), test.y_AH),
            )
            for name in losses
        },
        best_single=ids[int(best_single(fitting.p_NAH, fitting.y_AH)[:, 0].argmax())],
        members={member.id: member.origin for member in chosen},
        left_out={member.id: member.failure for member in failed_members(run)},
        configurations_tried=distinct_configurations(pd.read_parquet(run.path / "trials.parquet")),
    ).write(run.ensemble)


def method_losses(fitting: Predictions) -> dict[str, float]:
    """Cross-validated log loss of every method; of uniform weights alone where one series is all there is."""
    if len(fitting.series) < 2:
        p_AH = fitting.p_NAH.mean(axis=0)
        return {"uniform": mean_log_loss(all_metrics(p_AH, fitting.y_AH))}
    return {name: cross_validated_log_loss(method, fitting) for name, method in METHODS.items()}


def distinct_configurations(trials: pd.DataFrame) -> int:
    return len(trials.filter(regex=r"^config\.").drop_duplicates())


def predict(run: RunDir, dataset: Dataset, name: SliceName) -> Predictions:
    """Float32 on the CPU, whatever the members were trained on: as a user's prediction will be."""
    cpu = torch.device("cpu")
    p_NAH = [predict_slice(load_member(run, member), dataset, name, cpu, "fp32") for member in members(run)]
    anchors = dataset.frozen_anchors(name)
    return Predictions(
        p_NAH=np.stack(p_NAH).astype(np.float64),
        y_AH=frozen_labels(dataset, name),
        series_A=anchors.series_A,
        minute_A=anchors.minute_A,
    )


def write_predictions(
    run: RunDir, dataset: Dataset, ids: list[str], weights_NH: Floats, slices: dict[SliceName, Predictions]
) -> None:
    """One row an anchor of blend and test: `label/15`, and `<member>/15`, `ensemble/15`, `constant/15` as
    probabilities.
    """
    rate_H = np.array(dataset.info.slices["train"].up_share)
    names = np.array(dataset.series.name_M)
    tables = []
    for slice_name, predictions in slices.items():
        columns: dict[str, object] = {
            "slice": slice_name,
            "series": names[predictions.series_A],
            "minute": predictions.minute_A,
        }
        said = dict(zip(ids, predictions.p_NAH, strict=True)) | {
            ENSEMBLE: mix(predictions.p_NAH, weights_NH),
            CONSTANT: np.broadcast_to(rate_H, predictions.y_AH.shape),
        }
        for h, horizon in enumerate(dataset.info.horizons):
            columns[f"label/{horizon}"] = predictions.y_AH[:, h]
            columns |= {f"{who}/{horizon}": p_AH[:, h] for who, p_AH in said.items()}
        tables.append(pd.DataFrame(columns))
    temporary = run.path / ".predictions.parquet.tmp"
    pd.concat(tables).to_parquet(temporary, index=False)
    temporary.replace(run.predictions)


def _convex_weights(p_NA: Floats, y_A: Labels) -> Floats:
    known = y_A >= 0
    p, y = p_NA[:, known], y_A[known] == 1
    count = len(p)
    uniform_N = np.full(count, 1 / count)
    if not known.any():
        return uniform_N

    def loss(weights_N: Floats) -> tuple[float, Floats]:
        mixed = (weights_N @ p).clip(EPSILON, 1 - EPSILON)
        said = np.where(y, mixed, 1 - mixed)
        gradient = -(np.where(y, p, -p) / said).mean(axis=1) + 2 * SHRINKAGE * (weights_N - uniform_N)
        return -np.log(said).mean() + SHRINKAGE * ((weights_N - uniform_N) ** 2).sum(), gradient

    result = minimize(
        loss,
        uniform_N,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)},
    )
    weights_N: Floats = np.where(result.x < SMALLEST_WEIGHT, 0.0, result.x)
    normed_N: Floats = weights_N / weights_N.sum()
    return normed_N
