"""Ensemble weights, fitted and chosen on the blend slice; then the one look at the sealed test slice.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from data.batches import frozen_labels
from data.document import Document
from data.schema import SliceName
from data.store import Dataset
from models.bundle.calibration import Calibration, calibrated
from models.metrics import all_metrics, mean_log_loss
from models.score import HorizonMetrics
from models.training.fit import predict_slice
from search.cli.console import Say
from search.finalists.blend_methods import Floats, Labels, Method, best_single, judged_horizons, methods, mix
from search.finalists.calibrate import KINDS
from search.finalists.members import failed_members, load_member, members
from search.run.run_dir import RunDir

FOLDS = 5

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

    current_version: ClassVar[int] = 2

    version: int = 2
    horizons: tuple[int, ...]
    method: str
    methods: dict[str, MethodResult]
    """Before calibration."""
    calibration: tuple[Calibration, ...]
    """Of the ensemble, for each horizon."""
    calibration_losses: dict[str, tuple[float, ...]]
    """Kind of calibration -> cross-validated log loss on the blend slice for each horizon; the lowest is chosen. Empty
    where there is but one series."""
    blend: tuple[HorizonMetrics, ...]
    test: tuple[HorizonMetrics, ...]
    """Of the ensemble as it predicts, calibrated."""
    best_single: str
    """The member with the lowest log loss on the blend slice."""
    members: dict[str, str]
    """Member -> where its configuration is from."""
    architectures: dict[str, str]
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


Predictor = Callable[[Floats], Floats]
"""p_NAH -> p_AH"""


def held_out(predictions: Predictions, fit: Callable[[Floats, Labels], Predictor]) -> Floats:
    """p_AH: each block of series that launched one after another, as predicted by what was fitted on the others. Needs
    two series.
    """
    p_AH = np.full(predictions.y_AH.shape, np.nan)
    for held_A in _blocks(predictions):
        predictor = fit(predictions.p_NAH[:, ~held_A], predictions.y_AH[~held_A])
        p_AH[held_A] = predictor(predictions.p_NAH[:, held_A])
    return p_AH


def cross_validated_log_loss(method: Method, predictions: Predictions) -> float:
    """Mean over the horizons."""

    def fit(p_NAH: Floats, y_AH: Labels) -> Predictor:
        return partial(mix, weights_NH=method(p_NAH, y_AH))

    return mean_log_loss(all_metrics(held_out(predictions, fit), predictions.y_AH))


def calibration_losses(method: Method, predictions: Predictions) -> dict[str, tuple[float, ...]]:
    """Kind of calibration -> cross-validated log loss for each horizon, weights and calibration both fitted anew."""
    losses = {}
    for kind in KINDS:

        def fit(p_NAH: Floats, y_AH: Labels, kind: str = kind) -> Predictor:
            weights_NH = method(p_NAH, y_AH)
            fitted_H = fit_calibration(mix(p_NAH, weights_NH), y_AH, (kind,) * y_AH.shape[1])
            return lambda p_NAH: calibrated(mix(p_NAH, weights_NH), fitted_H)

        metrics_H = all_metrics(held_out(predictions, fit), predictions.y_AH)
        losses[kind] = tuple(metrics.log_loss for metrics in metrics_H)
    return losses


def fit_calibration(p_AH: Floats, y_AH: Labels, kind_H: tuple[str, ...]) -> tuple[Calibration, ...]:
    """One for each horizon; none where there is but one class."""
    judged_H = judged_horizons(y_AH)
    return tuple(
        KINDS[kind if judged else "none"](p_AH[:, h], y_AH[:, h])
        for h, (kind, judged) in enumerate(zip(kind_H, judged_H, strict=True))
    )


def _blocks(predictions: Predictions) -> Iterator[NDArray[np.bool_]]:
    series = predictions.series
    for block in np.array_split(np.array(series), min(FOLDS, len(series))):
        yield np.isin(predictions.series_A, block)


def blend(run: RunDir, say: Say) -> None:
    """Writes predictions.parquet and ensemble.json. The test slice is read after everything is fitted."""
    dataset = run.open_dataset()
    chosen = members(run)
    ids = [member.id for member in chosen]
    fitting = predict(run, dataset, "blend")
    _say_unjudged(dataset.info.horizons, fitting.y_AH, say)
    every = methods([member.architecture for member in chosen])
    losses = method_losses(every, fitting)
    winner = min(losses, key=lambda name: losses[name])
    weights = {name: every[name](fitting.p_NAH, fitting.y_AH) for name in losses}
    say("blending: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()) + f"; chosen: {winner}")
    by_kind = calibration_losses(every[winner], fitting) if len(fitting.series) > 1 else {}
    kind_H = chosen_kinds(by_kind, len(dataset.info.horizons))
    calibration_H = fit_calibration(mix(fitting.p_NAH, weights[winner]), fitting.y_AH, kind_H)
    say("calibrating: " + ", ".join(f"{h} {c.kind}" for h, c in zip(dataset.info.horizons, calibration_H, strict=True)))

    test = predict(run, dataset, "test")
    slices: dict[SliceName, Predictions] = {"blend": fitting, "test": test}
    said: dict[SliceName, Floats] = {
        name: calibrated(mix(part.p_NAH, weights[winner]), calibration_H) for name, part in slices.items()
    }
    write_predictions(run, dataset, ids, slices, said)
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
        calibration=calibration_H,
        calibration_losses=by_kind,
        blend=all_metrics(said["blend"], fitting.y_AH),
        test=all_metrics(said["test"], test.y_AH),
        best_single=ids[int(best_single(fitting.p_NAH, fitting.y_AH).mean(axis=1).argmax())],
        members={member.id: member.origin for member in chosen},
        architectures={member.id: member.architecture for member in chosen},
        left_out={member.id: member.failure for member in failed_members(run)},
        configurations_tried=distinct_configurations(pd.read_parquet(run.path / "trials.parquet")),
    ).write(run.ensemble)


def method_losses(every: Mapping[str, Method], fitting: Predictions) -> dict[str, float]:
    """Cross-validated log loss of every method; of uniform weights alone where one series is all there is."""
    if len(fitting.series) < 2:
        p_AH = fitting.p_NAH.mean(axis=0)
        return {"uniform": mean_log_loss(all_metrics(p_AH, fitting.y_AH))}
    return {name: cross_validated_log_loss(method, fitting) for name, method in every.items()}


def chosen_kinds(losses: Mapping[str, tuple[float, ...]], horizons: int) -> tuple[str, ...]:
    """The kind of calibration with the lowest loss at each horizon."""
    if not losses:
        return ("none",) * horizons
    return tuple(min(losses, key=lambda kind: losses[kind][h]) for h in range(horizons))


def _say_unjudged(horizons: tuple[int, ...], y_AH: Labels, say: Say) -> None:
    alike = [str(h) for h, judged in zip(horizons, judged_horizons(y_AH), strict=True) if not judged]
    if alike:
        minutes = ", ".join(alike)
        say(f"the blend slice has rises alone or falls alone at {minutes} minutes: equal weights, no calibration there")


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
    run: RunDir,
    dataset: Dataset,
    ids: list[str],
    slices: Mapping[SliceName, Predictions],
    ensemble: Mapping[SliceName, Floats],
) -> None:
    """One row an anchor of blend and test: series, its launch, minute; `label/15`, and `<member>/15`, `ensemble/15`,
    `constant/15` as probabilities. ensemble: slice -> p_AH.
    """
    rate_H = np.array(dataset.info.slices["train"].up_share)
    names = np.array(dataset.series.name_M)
    tables = []
    for slice_name, predictions in slices.items():
        columns: dict[str, object] = {
            "slice": slice_name,
            "series": names[predictions.series_A],
            "launch": dataset.series.start_M[predictions.series_A].astype("datetime64[us]"),
            "minute": predictions.minute_A,
        }
        said = dict(zip(ids, predictions.p_NAH, strict=True)) | {
            ENSEMBLE: ensemble[slice_name],
            CONSTANT: np.broadcast_to(rate_H, predictions.y_AH.shape),
        }
        for h, horizon in enumerate(dataset.info.horizons):
            columns[f"label/{horizon}"] = predictions.y_AH[:, h]
            columns |= {f"{who}/{horizon}": p_AH[:, h] for who, p_AH in said.items()}
        tables.append(pd.DataFrame(columns))
    temporary = run.path / ".predictions.parquet.tmp"
    pd.concat(tables).to_parquet(temporary, index=False)
    temporary.replace(run.predictions)
