"""The exported artifact: members, weights and feature spec in one folder that predicts without Ray.

    bundle.json               BundleDocument
    member-<n>.safetensors    weights of each member
    checkpoint.pt             the best single member: {input_size, config, model_state_dict}, weights only
    README.md                 model card            SHA256SUMS    of every file above

Nothing in it is unpickled and no code is run from it. Needs torch, numpy, pandas, pyarrow, safetensors and
pydantic.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.batches import pad_batch
from data.document import Document, new_folder, write_atomically
from data.features import FEATURE_NAMES, features
from data.find import SeriesFile
from data.read import read_series
from data.schema import MASKED, InputError
from models.architectures import build_model, model_config
from models.inference import predict_batch

SERIES_PER_BATCH = 32
ANCHORS_PER_BATCH = 256
ANCHORS_PER_PASS = 64
"""Bound memory: windows are gathered for so many anchors at a time, at most ANCHORS_PER_PASS of a series."""


class MemberEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    origin: str
    file: str = Field(pattern=r"^member-\d+\.safetensors$")
    architecture: str
    config: dict[str, Any]
    weights: tuple[float, ...]
    """Share in the ensemble for each horizon."""


class BundleDocument(Document):
    """bundle.json"""

    horizons: tuple[int, ...]
    features: tuple[str, ...]
    extras: tuple[str, ...]
    """Columns that the series must have beside time, price and volume."""
    expanding_min: int
    expanding_max: int
    members: tuple[MemberEntry, ...] = Field(min_length=1)
    best_single: str
    blending: str
    test_auc: tuple[float | None, ...]
    provenance: dict[str, str]


@dataclass(frozen=True)
class SeriesPrediction:
    """p_KH: probability that the price is higher h minutes after each of minute_K; spread_KH: the standard
    deviation over the members.
    """

    file: SeriesFile
    start: np.datetime64
    minute_K: NDArray[np.int64]
    p_KH: NDArray[np.float64]
    spread_KH: NDArray[np.float64]
    problem: str | None = None
    """Why there is no prediction at all: the file is unreadable, or the series too short."""
    goes_on: bool = False
    """The series has bars behind the last minute that can be predicted from."""

    def frame(self, horizons: tuple[int, ...]) -> pd.DataFrame:
        """One row an anchor and horizon."""
        count = len(horizons)
        times_K = self.start.astype("datetime64[us]") + self.minute_K * np.timedelta64(60_000_000, "us")
        return pd.DataFrame(
            {
                "series": self.file.name,
                "minute": np.repeat(self.minute_K, count).astype(np.int32),
                "datetime": np.repeat(times_K, count),
                "horizon": np.tile(np.array(horizons, dtype=np.int32), len(self.minute_K)),
                "probability": self.p_KH.reshape(-1),
                "spread": self.spread_KH.reshape(-1),
            }
        )


class Bundle:
    """A loaded bundle.

    bundle = Bundle.load(Path("bundle"))
    for prediction in bundle.predict(find_series(Path("launches")).files):
        print(prediction.frame(bundle.document.horizons))
    """

    def __init__(self, document: BundleDocument, models: list[nn.Module]) -> None:
        self.document = document
        self._models = models
        self._weights_NH = np.array([member.weights for member in document.members])

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Raises InputError if the folder is no bundle, was altered, or is of another format version."""
        if not path.is_dir():
            raise InputError(f"{path} is not a bundle folder: `hybridtune export` makes one")
        document = BundleDocument.read(path / "bundle.json")
        _check_sums(path)
        if document.features != FEATURE_NAMES + document.extras:
            raise InputError(f"{path} was made with other features: use the version of hybridtune that wrote it")
        return cls(document, [_load_member(path, entry, document) for entry in document.members])

    def predict(self, files: Iterable[SeriesFile], stride: int = 1, last: bool = False) -> Iterator[SeriesPrediction]:
        """Predictions at every `stride`-th minute from the first with enough history, or at the last only.

        A file that cannot be read gives no rows and a problem, like a series that is too short.
        """
        waiting: list[tuple[SeriesPrediction, NDArray[np.float32]]] = []
        anchors = 0
        for file in files:
            waiting.append(self._open(file, stride, last))
            anchors += min(len(waiting[-1][0].minute_K), ANCHORS_PER_PASS)
            if len(waiting) == SERIES_PER_BATCH or anchors >= ANCHORS_PER_BATCH:
                yield from self._predict_together(waiting)
                waiting, anchors = [], 0
        if waiting:
            yield from self._predict_together(waiting)

    def _open(self, file: SeriesFile, stride: int, last: bool) -> tuple[SeriesPrediction, NDArray[np.float32]]:
        document = self.document
        none = np.empty((0, len(document.horizons)))
        nothing = np.empty((0, len(document.features)), dtype=np.float32)
        try:
            # One minute more than is used tells whether the series goes on.
            bars = read_series(file.path, document.extras, limit_minutes=document.expanding_max + 1)
        except InputError as error:
            return SeriesPrediction(file, np.datetime64(0, "m"), np.empty(0, int), none, none, str(error)), nothing
        minute_K = np.arange(document.expanding_min - 1, min(len(bars), document.expanding_max))
        minute_K = minute_K[bars.observed_T[minute_K]]
        problem = None
        if len(bars) < document.expanding_min:
            problem = f"{file.path} has {len(bars)} minutes, a prediction needs {document.expanding_min}"
        elif not len(minute_K):
            problem = (
                f"{file.path} has no observed minute from {document.expanding_min - 1} to {document.expanding_max - 1} "
                "after launch"
            )
        minute_K = minute_K[-1:] if last else minute_K[(minute_K - document.expanding_min + 1) % stride == 0]
        goes_on = len(bars) > document.expanding_max
        prediction = SeriesPrediction(file, bars.start, minute_K, none, none, problem, goes_on)
        return prediction, features(bars, document.extras)

    def _predict_together(
        self, waiting: list[tuple[SeriesPrediction, NDArray[np.float32]]]
    ) -> Iterator[SeriesPrediction]:
        counts = [len(prediction.minute_K) for prediction, _ in waiting]
        p_NKH: list[list[NDArray[np.float32]]] = [[] for _ in waiting]
        for first in range(0, max(counts), ANCHORS_PER_PASS):
            rows = [row for row, count in enumerate(counts) if count > first]
            minutes = [waiting[row][0].minute_K[first : first + ANCHORS_PER_PASS] for row in rows]
            p_NAH = self._pass([waiting[row][1] for row in rows], minutes)
            ends = np.cumsum([len(m) for m in minutes])[:-1]
            for row, part in zip(rows, np.split(p_NAH, ends, axis=1), strict=True):
                p_NKH[row].append(part)
        for (prediction, _), parts in zip(waiting, p_NKH, strict=True):
            yield self._mixed(prediction, np.concatenate(parts, axis=1)) if parts else prediction

    def _pass(self, series: list[NDArray[np.float32]], minutes: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        labels = [np.full((len(m), len(self.document.horizons)), MASKED, dtype=np.int8) for m in minutes]
        batch = pad_batch(series, minutes, labels)
        return np.stack([predict_batch(model, batch, torch.device("cpu"), "fp32") for model in self._models])

    def _mixed(self, prediction: SeriesPrediction, p_NKH: NDArray[np.float32]) -> SeriesPrediction:
        p_KH = np.einsum("nkh,nh->kh", p_NKH.astype(np.float64), self._weights_NH)
        return replace(prediction, p_KH=p_KH, spread_KH=p_NKH.std(axis=0))


def save_bundle(
    out: Path, document: BundleDocument, states: Mapping[str, dict[str, Tensor]], best: MemberEntry, card: str
) -> None:
    """Writes the folder `out`; states: member -> its state_dict, `best` among them. Raises InputError if it exists."""
    with new_folder(out) as folder:
        for entry in document.members:
            save_file(states[entry.id], folder / entry.file)
        checkpoint = {
            "input_size": len(document.features),
            "config": {"architecture": best.architecture, **best.config},
            "model_state_dict": states[best.id],
        }
        torch.save(checkpoint, folder / "checkpoint.pt")
        document.write(folder / "bundle.json")
        write_atomically(folder / "README.md", card.encode())
        sums = [f"{_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
        write_atomically(folder / "SHA256SUMS", "".join(sums).encode())


def _load_member(path: Path, entry: MemberEntry, document: BundleDocument) -> nn.Module:
    if len(entry.weights) != len(document.horizons):
        raise InputError(
            f"{path}: member {entry.id} has {len(entry.weights)} weights for {len(document.horizons)} horizons"
        )
    try:
        model = build_model(model_config(entry.architecture, entry.config), seed=0)
        model.load_state_dict(load_file(path / entry.file), strict=True)
    except (OSError, SafetensorError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: member {entry.id} cannot be loaded: {str(error).splitlines()[0]}") from None
    return model.eval()


def _check_sums(path: Path) -> None:
    try:
        lines = (path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} has no readable SHA256SUMS: export the bundle anew") from None
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    # Systems leave hidden files of their own; nothing reads them.
    for file in sorted(p for p in path.iterdir() if p.name != "SHA256SUMS" and not p.name.startswith(".")):
        if file.name not in expected:
            raise InputError(f"{file} is not part of the bundle: remove it")
        if not file.is_file() or expected.pop(file.name) != _digest(file):
            raise InputError(f"{file} is not what was exported: its checksum differs, export the bundle anew")
    if expected:
        raise InputError(f"{path} lacks {sorted(expected)[0]}: export the bundle anew")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
