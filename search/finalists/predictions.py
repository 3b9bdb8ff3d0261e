"""What the members and the ensemble predict on blend and test, kept in predictions.parquet.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hybridtune.data.batches import frozen_labels
from hybridtune.data.document import new_file
from hybridtune.data.schema import SliceName
from hybridtune.data.store import Dataset
from hybridtune.models.training.fit import predict_slice
from hybridtune.search.finalists.blend_methods import Floats, Labels
from hybridtune.search.finalists.members import load_member, members
from hybridtune.search.run.run_dir import RunDir

ENSEMBLE: Final = "ensemble"


BASE_RATE: Final = "base_rate"
"""The column of predictions.parquet that holds the share of up labels in train."""


@dataclass(frozen=True)
class Predictions:
    """What every member predicts at the frozen anchors of a slice."""

    p_NAH: Floats
    y_AH: Labels
    series_A: NDArray[np.int64]
    minute_A: NDArray[np.int64]

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
        minute_A=anchors.minute_A,
    )


def write_predictions(
    run: RunDir,
    dataset: Dataset,
    ids: list[str],
    slices: Mapping[SliceName, Predictions],
    ensemble: Mapping[SliceName, Floats],
) -> None:
    """One row for each anchor of blend and test: series, its launch, minute; `label/15`; and, as probabilities,
    `<member>/15`, `ensemble/15`, `base_rate/15`. ensemble: slice -> p_AH.
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
        p_by_name = dict(zip(ids, predictions.p_NAH, strict=True)) | {
            ENSEMBLE: ensemble[slice_name],
            BASE_RATE: np.broadcast_to(rate_H, predictions.y_AH.shape),
        }
        for h, horizon in enumerate(dataset.info.horizons):
            columns[f"label/{horizon}"] = predictions.y_AH[:, h]
            columns |= {f"{who}/{horizon}": p_AH[:, h] for who, p_AH in p_by_name.items()}
        tables.append(pd.DataFrame(columns))
    with new_file(run.predictions) as file:
        pd.concat(tables).to_parquet(file, index=False)
