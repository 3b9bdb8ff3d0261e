"""What the members, the ensemble and the baselines predict on blend and test, kept in predictions.parquet.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hybridtune.data.batches import frozen_labels
from hybridtune.data.document import new_file
from hybridtune.data.schema import SliceName
from hybridtune.data.store import Anchors, Dataset
from hybridtune.models.training.fit import predict_slice
from hybridtune.search.finalists.blend_methods import Floats, Labels
from hybridtune.search.finalists.members import load_member, members
from hybridtune.search.run.run_dir import RunDir

ENSEMBLE: Final = "ensemble"
BASE_RATE: Final = "base_rate"
"""The share of up labels in train, as a probability."""


@dataclass(frozen=True)
class Predictions:
    """What every member predicts at the frozen anchors of a slice."""

    p_NAH: Floats
    y_AH: Labels
    series_A: NDArray[np.int64]
    time_A: NDArray[np.datetime64]
    """Of the anchor's bar, in minutes."""
    horizons: tuple[int, ...]

    @property
    def series(self) -> list[int]:
        """In order of launch."""
        return list(dict.fromkeys(self.series_A.tolist()))


def predict(run: RunDir, dataset: Dataset, name: SliceName) -> Predictions:
    """Float32 on the CPU, whatever the members were trained on: as a user's prediction will be."""
    cpu = torch.device("cpu")
    p_NAH = [predict_slice(load_member(run, member), dataset, name, cpu, "fp32") for member in members(run)]
    anchors = dataset.frozen_anchors(name)
    return Predictions(
        p_NAH=np.stack(p_NAH).astype(np.float64),
        y_AH=frozen_labels(dataset, name),
        series_A=anchors.series_A,
        time_A=anchor_times(dataset, anchors),
        horizons=dataset.info.horizons,
    )


def anchor_times(dataset: Dataset, anchors: Anchors) -> NDArray[np.datetime64]:
    times_A: NDArray[np.datetime64] = dataset.series.start_M[anchors.series_A] + anchors.minute_A
    return times_A


@dataclass(frozen=True)
class StoredPredictions:
    """The frame of predictions.parquet, or some rows of it: one row for each frozen anchor of blend and test.

    Columns: slice, series, launch, minute; for each horizon h `label/h` (1, 0 or below 0 for unknown) and `WHO/h`, a
    probability, where WHO is a member, ENSEMBLE, BASE_RATE or a baseline.
    """

    frame: pd.DataFrame
    horizons: tuple[int, ...]

    @classmethod
    def read(cls, run: RunDir, horizons: tuple[int, ...]) -> Self:
        return cls(pd.read_parquet(run.predictions), horizons)

    def slice(self, name: SliceName) -> Self:
        return replace(self, frame=self.frame[self.frame["slice"] == name])

    def p_A(self, who: str, horizon: int) -> Floats:
        return self.frame[f"{who}/{horizon}"].to_numpy(np.float64)

    def label_A(self, horizon: int) -> Labels:
        return self.frame[f"label/{horizon}"].to_numpy(np.int8)

    def p_AH(self, who: str) -> Floats:
        return np.stack([self.p_A(who, horizon) for horizon in self.horizons], axis=1)

    def label_AH(self) -> Labels:
        return np.stack([self.label_A(horizon) for horizon in self.horizons], axis=1)

    @cached_property
    def time_A(self) -> NDArray[np.datetime64]:
        """Of the anchors' bars, in minutes."""
        launch_A = self.frame["launch"].to_numpy().astype("datetime64[m]")
        return np.asarray(launch_A + self.frame["minute"].to_numpy(np.int64))

    def known(self, horizon: int) -> Self:
        """The anchors whose label is known at a horizon."""
        return replace(self, frame=self.frame[self.frame[f"label/{horizon}"] >= 0])


def write_predictions(
    run: RunDir,
    dataset: Dataset,
    labels: Mapping[SliceName, Labels],
    p_by_slice: Mapping[SliceName, Mapping[str, Floats]],
) -> None:
    """Writes the frame of StoredPredictions; p_by_slice: slice -> who -> p_AH. The base rate is added here."""
    rate_H = np.array(dataset.info.slices["train"].up_share)
    names = np.array(dataset.series.name_M)
    tables = []
    for slice_name, y_AH in labels.items():
        anchors = dataset.frozen_anchors(slice_name)
        columns: dict[str, object] = {
            "slice": slice_name,
            "series": names[anchors.series_A],
            "launch": dataset.series.start_M[anchors.series_A].astype("datetime64[us]"),
            "minute": anchors.minute_A,
        }
        p_by_name = dict(p_by_slice[slice_name]) | {BASE_RATE: np.broadcast_to(rate_H, y_AH.shape)}
        for h, horizon in enumerate(dataset.info.horizons):
            columns[f"label/{horizon}"] = y_AH[:, h]
            columns |= {f"{who}/{horizon}": p_AH[:, h] for who, p_AH in p_by_name.items()}
        tables.append(pd.DataFrame(columns))
    with new_file(run.predictions) as file:
        pd.concat(tables).to_parquet(file, index=False)
