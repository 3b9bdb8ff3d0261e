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
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hybridtune.data.batches import Batch, pad_batch
from hybridtune.data.document import Document, new_folder, write_atomically
from hybridtune.data.features import FEATURE_NAMES, features
from hybridtune.data.find import SeriesFile
from hybridtune.data.read import read_series
from hybridtune.data.schema import MASKED, InputError
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.bundle.attention import AnchorAttention, Explainer, make_explainer
from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.bundle.minutes import EVERY_MINUTE, Asked, chosen, refuse_outside
from hybridtune.models.inference import predict_batch
from hybridtune.models.score import Score

SERIES_PER_BATCH = 32
ANCHORS_PER_BATCH = 256
ANCHORS_PER_PASS = 64
"""Bound memory: windows are gathered for so many anchors at a time, at most ANCHORS_PER_PASS of a series."""
WEIGHT_TOLERANCE = 1e-6


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

    current_version: ClassVar[int] = 2

    version: int = 2
    horizons: tuple[int, ...]
    features: tuple[str, ...]
    extras: tuple[str, ...]
    """Columns that the series must have beside time, price and volume."""
    expanding_min: int
    expanding_max: int
    members: tuple[MemberEntry, ...] = Field(min_length=1)
    best_single: str
    blending: str
    calibration: tuple[Calibration, ...]
    """Of the ensemble's probability, for each horizon."""
    test: tuple[Score, ...]
    """Of the ensemble on the sealed test slice, for each horizon."""
    provenance: dict[str, str]

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.horizons)
        if not len(self.calibration) == len(self.test) == count:
            found = f"{len(self.calibration)} calibrations and {len(self.test)} scores"
            raise ValueError(f"there are {found} for {count} horizons")
        for member in self.members:
            if len(member.weights) != count:
                raise ValueError(f"member {member.id} has {len(member.weights)} weights for {count} horizons")
        weights_NH = np.array([member.weights for member in self.members])
        # Written positively so that NaN fails the test too.
        if not ((weights_NH >= 0).all() and np.abs(weights_NH.sum(axis=0) - 1).max() <= WEIGHT_TOLERANCE):
            sums = ", ".join(f"{total:.3g}" for total in weights_NH.sum(axis=0))
            raise ValueError(f"the members' weights must be shares that sum to 1 at each horizon, they sum to {sums}")
        return self


@dataclass(frozen=True)
class SeriesPrediction:
    """p_KH: probability that the price is higher h minutes after each of minute_K; spread_KH: the standard
    deviation over the members.
    """

    file: SeriesFile
    start: np.datetime64
    price_T: NDArray[np.float64]
    """Since launch; may reach one minute beyond the last that can be predicted from."""
    minute_K: NDArray[np.int64]
    p_KH: NDArray[np.float64]
    spread_KH: NDArray[np.float64]
    problem: str | None = None
    """Why there is no prediction at all: the file is unreadable, or the series too short."""
    goes_on: bool = False
    """The series has bars after the last minute that can be predicted from."""
    attention_K: tuple[AnchorAttention, ...] = ()
    """Where an explainer looked at each of minute_K, if one was given."""

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

    def __init__(self, document: BundleDocument, models: list[Forecaster]) -> None:
        self.document = document
        self._models = models
        self._weights_NH = np.array([member.weights for member in document.members])

    @classmethod
    def load(cls, path: str | Path) -> "Bundle":
        """Raises InputError if the folder is no bundle, was altered, or is of another format version."""
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"{path} is not a bundle folder: `hybridtune export` makes one")
        document = BundleDocument.read(path / "bundle.json")
        _check_sums(path)
        if document.features != FEATURE_NAMES + document.extras:
            raise InputError(f"{path} was made with other features: use the version of hybridtune that wrote it")
        return cls(document, [_load_member(path, entry) for entry in document.members])

    def explainer(self) -> Explainer:
        """The heaviest of the members that have attention. Raises InputError if none has."""
        members = zip(self.document.members, self._models, strict=True)
        made = [make_explainer(m.id, m.architecture, float(np.mean(m.weights)), model) for m, model in members]
        explainers = [explainer for explainer in made if explainer is not None]
        if not explainers:
            names = ", ".join(sorted({member.architecture for member in self.document.members}))
            raise InputError(f"no member of the bundle has attention to explain, got {names} only: predict alone")
        return max(explainers, key=lambda explainer: explainer.weight)

    def predict(
        self, files: Iterable[SeriesFile], asked: Asked = EVERY_MINUTE, explainer: Explainer | None = None
    ) -> Iterator[SeriesPrediction]:
        """Predictions at the minutes asked for, and where the explainer looked.

        A file that cannot be read gives no rows and a problem, like a series that is too short. Raises InputError
        if a minute is asked for at which nothing is predicted.
        """
        refuse_outside(asked, self.document.expanding_min - 1, self.document.expanding_max - 1)
        return self._predictions(files, asked, explainer)

    def _predictions(
        self, files: Iterable[SeriesFile], asked: Asked, explainer: Explainer | None
    ) -> Iterator[SeriesPrediction]:
        waiting: list[tuple[SeriesPrediction, NDArray[np.float32]]] = []
        anchors = 0
        for file in files:
            waiting.append(self._open(file, asked))
            anchors += min(len(waiting[-1][0].minute_K), ANCHORS_PER_PASS)
            if len(waiting) == SERIES_PER_BATCH or anchors >= ANCHORS_PER_BATCH:
                yield from self._predict_together(waiting, explainer)
                waiting, anchors = [], 0
        if waiting:
            yield from self._predict_together(waiting, explainer)

    def _open(self, file: SeriesFile, asked: Asked) -> tuple[SeriesPrediction, NDArray[np.float32]]:
        document = self.document
        first = document.expanding_min - 1
        none = np.empty((0, len(document.horizons)))
        try:
            # One minute more than is used tells whether the series goes on.
            bars = read_series(file.path, document.extras, limit_minutes=document.expanding_max + 1)
        except InputError as error:
            nothing = np.empty((0, len(document.features)), dtype=np.float32)
            launch, never = np.datetime64(0, "m"), np.empty(0, dtype=np.int64)
            return SeriesPrediction(file, launch, np.empty(0), never, none, none, str(error)), nothing
        observed_K = np.arange(first, min(len(bars), document.expanding_max))
        observed_K = observed_K[bars.observed_T[observed_K]]
        minute_K = chosen(asked, observed_K, first)
        problem = None
        if len(bars) < document.expanding_min:
            problem = f"{file.path} has {len(bars)} minutes, a prediction needs {document.expanding_min}"
        elif not len(observed_K):
            problem = f"{file.path} has no observed minute from {first} to {document.expanding_max - 1} after launch"
        elif not len(minute_K):
            problem = f"{file.path} has no observed minute among those asked for, its last is {observed_K[-1]}"
        goes_on = len(bars) > document.expanding_max
        prediction = SeriesPrediction(file, bars.start, bars.price_T, minute_K, none, none, problem, goes_on)
        return prediction, features(bars, document.extras)

    def _predict_together(
        self, waiting: list[tuple[SeriesPrediction, NDArray[np.float32]]], explainer: Explainer | None
    ) -> Iterator[SeriesPrediction]:
        counts = [len(prediction.minute_K) for prediction, _ in waiting]
        p_NKH: list[list[NDArray[np.float32]]] = [[] for _ in waiting]
        attention: list[list[AnchorAttention]] = [[] for _ in waiting]
        for first in range(0, max(counts), ANCHORS_PER_PASS):
            rows = [row for row, count in enumerate(counts) if count > first]
            minutes = [waiting[row][0].minute_K[first : first + ANCHORS_PER_PASS] for row in rows]
            batch = self._batch([waiting[row][1] for row in rows], minutes)
            p_NAH = np.stack([predict_batch(model, batch, torch.device("cpu"), "fp32") for model in self._models])
            looks = iter([] if explainer is None else explainer.look(batch))
            ends = np.cumsum([len(m) for m in minutes])[:-1]
            for row, minute_K, part in zip(rows, minutes, np.split(p_NAH, ends, axis=1), strict=True):
                p_NKH[row].append(part)
                attention[row].extend(islice(looks, len(minute_K)))
        for (prediction, _), parts, looked in zip(waiting, p_NKH, attention, strict=True):
            mixed = self._mixed(prediction, np.concatenate(parts, axis=1)) if parts else prediction
            yield replace(mixed, attention_K=tuple(looked))

    def _batch(self, series: list[NDArray[np.float32]], minutes: list[NDArray[np.int64]]) -> Batch:
        labels = [np.full((len(m), len(self.document.horizons)), MASKED, dtype=np.int8) for m in minutes]
        return pad_batch(series, minutes, labels)

    def _mixed(self, prediction: SeriesPrediction, p_NKH: NDArray[np.float32]) -> SeriesPrediction:
        mixed_KH = np.einsum("nkh,nh->kh", p_NKH.astype(np.float64), self._weights_NH)
        p_KH = calibrated(mixed_KH, self.document.calibration)
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


def _load_member(path: Path, entry: MemberEntry) -> Forecaster:
    try:
        model = build_model(model_config(entry.architecture, entry.config), seed=0)
        model.load_state_dict(load_file(path / entry.file), strict=True)
    except (OSError, SafetensorError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: member {entry.id} cannot be loaded: {str(error).splitlines()[0]}") from None
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise InputError(f"{path}: member {entry.id} has weights that are not finite: export the bundle anew")
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
