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
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from hybridtune.data.batches import Batch, pad_batch
from hybridtune.data.columns import Columns
from hybridtune.data.document import Document, new_folder, write_atomically
from hybridtune.data.features import FEATURE_NAMES, formulas_digest
from hybridtune.data.find import SeriesFile
from hybridtune.data.schema import MASKED, InputError
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.bundle.attention import AnchorAttention, AttentiveMember, attentive_member
from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.bundle.minutes import EVERY_MINUTE, Requested, refuse_outside
from hybridtune.models.bundle.series import RequestedSeries, SeriesPrediction, read_requested
from hybridtune.models.inference import predict_batch
from hybridtune.models.score import Score

SERIES_PER_BATCH = 32
ANCHORS_PER_BATCH = 2048
ANCHORS_PER_PASS = 1024
"""Bound memory: so many anchors go through a model at a time, at most ANCHORS_PER_PASS of a series. Each pass encodes
its series anew, so that few anchors at a time cost much.
"""
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

    current_version: ClassVar[int] = 7

    version: int = 7
    horizons: tuple[int, ...]
    features: tuple[str, ...]
    extras: tuple[str, ...]
    """Features beside the computed ones: ratios of columns to the price, and further columns."""
    formulas: str
    """Digest of what the features of a fixed series are."""
    columns: Columns
    """What is taken for what in the files of series."""
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


class Bundle:
    """A loaded bundle.

    bundle = Bundle.load(Path("bundle"))
    with series_below(Path("launches"), bundle.document.columns.id) as found:
        for prediction in bundle.predict(found.files):
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
        if document.formulas != formulas_digest():
            raise InputError(
                f"{path} was made with other formulas of its features: use the version of hybridtune that wrote it"
            )
        return cls(document, [_load_member(path, document, entry) for entry in document.members])

    def attentive_member(self) -> AttentiveMember:
        """The heaviest of the members that have attention. Raises InputError if none has."""
        members = zip(self.document.members, self._models, strict=True)
        made = [attentive_member(m.id, m.architecture, float(np.mean(m.weights)), model) for m, model in members]
        attentive = [member for member in made if member is not None]
        if not attentive:
            names = ", ".join(sorted({member.architecture for member in self.document.members}))
            raise InputError(f"no member of the bundle has attention to explain, got {names} only: predict alone")
        return max(attentive, key=lambda member: member.weight)

    def predict(
        self,
        files: Iterable[SeriesFile],
        requested: Requested = EVERY_MINUTE,
        attentive: AttentiveMember | None = None,
    ) -> Iterator[SeriesPrediction]:
        """Predictions at the requested minutes, and the attention of `attentive` there. files: of one series each, as
        `series_below` makes them of tables that hold many.

        A file that cannot be read gives no rows and a problem, like a series that is too short. Raises InputError
        for a requested minute at which the bundle predicts nothing.
        """
        refuse_outside(requested, self.document.expanding_min - 1, self.document.expanding_max - 1)
        return self._predictions(files, requested, attentive)

    def _predictions(
        self, files: Iterable[SeriesFile], requested: Requested, attentive: AttentiveMember | None
    ) -> Iterator[SeriesPrediction]:
        document = self.document
        waiting: list[tuple[RequestedSeries, NDArray[np.float32]]] = []
        anchors = 0
        for file in files:
            opened = read_requested(
                file, document.columns, document.extras, document.expanding_min, document.expanding_max, requested
            )
            waiting.append(opened)
            anchors += min(len(opened[0].minute_K), ANCHORS_PER_PASS)
            if len(waiting) == SERIES_PER_BATCH or anchors >= ANCHORS_PER_BATCH:
                yield from self._predict_together(waiting, attentive)
                waiting, anchors = [], 0
        if waiting:
            yield from self._predict_together(waiting, attentive)

    def _predict_together(
        self, waiting: list[tuple[RequestedSeries, NDArray[np.float32]]], attentive: AttentiveMember | None
    ) -> Iterator[SeriesPrediction]:
        counts = [len(series.minute_K) for series, _ in waiting]
        p_NKH: list[list[NDArray[np.float32]]] = [[self._no_rows()] for _ in waiting]
        attention: list[list[AnchorAttention]] = [[] for _ in waiting]
        for first in range(0, max(counts), ANCHORS_PER_PASS):
            rows = [row for row, count in enumerate(counts) if count > first]
            minutes = [waiting[row][0].minute_K[first : first + ANCHORS_PER_PASS] for row in rows]
            batch = self._batch([waiting[row][1] for row in rows], minutes)
            p_NAH = np.stack([predict_batch(model, batch, torch.device("cpu"), "fp32") for model in self._models])
            attended = iter([] if attentive is None else attentive.attend(batch))
            ends = np.cumsum([len(m) for m in minutes])[:-1]
            for row, minute_K, part in zip(rows, minutes, np.split(p_NAH, ends, axis=1), strict=True):
                p_NKH[row].append(part)
                attention[row].extend(islice(attended, len(minute_K)))
        for (series, _), parts, attention_K in zip(waiting, p_NKH, attention, strict=True):
            yield self._prediction(series, np.concatenate(parts, axis=1), tuple(attention_K))

    def _no_rows(self) -> NDArray[np.float32]:
        return np.empty((len(self._models), 0, len(self.document.horizons)), dtype=np.float32)

    def _batch(self, series: list[NDArray[np.float32]], minutes: list[NDArray[np.int64]]) -> Batch:
        labels = [np.full((len(m), len(self.document.horizons)), MASKED, dtype=np.int8) for m in minutes]
        return pad_batch(series, minutes, labels)

    def _prediction(
        self, series: RequestedSeries, p_NKH: NDArray[np.float32], attention_K: tuple[AnchorAttention, ...]
    ) -> SeriesPrediction:
        mixed_KH = np.einsum("nkh,nh->kh", p_NKH.astype(np.float64), self._weights_NH)
        p_KH = calibrated(mixed_KH, self.document.calibration)
        # A member of weight 0 at a horizon has no say in how far they are apart there.
        apart_NKH = (p_NKH - mixed_KH) ** 2 * self._weights_NH[:, None, :]
        return SeriesPrediction(series, p_KH, np.sqrt(apart_NKH.sum(axis=0)), attention_K)


def save_bundle(
    out: Path, document: BundleDocument, states: Mapping[str, dict[str, Tensor]], best: MemberEntry, card: str
) -> None:
    """Writes the folder `out`; states: member -> its state_dict, `best` among them. Raises InputError if it exists."""
    with new_folder(out) as folder:
        for entry in document.members:
            # save_file would let nobody else read it.
            write_atomically(folder / entry.file, save(states[entry.id]))
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


def _load_member(path: Path, document: BundleDocument, entry: MemberEntry) -> Forecaster:
    try:
        config = model_config(entry.architecture, entry.config)
        for name, asked in (("input_size", len(document.features)), ("horizons", len(document.horizons))):
            if getattr(config, name) != asked:
                raise InputError(
                    f"{path}: member {entry.id} was made for {name} {getattr(config, name)}, the bundle has {asked}: "
                    "export it anew"
                )
        if config.history < document.expanding_max:
            raise InputError(
                f"{path}: member {entry.id} sees {config.history} minutes at most, the bundle predicts up to "
                f"{document.expanding_max}: export it anew"
            )
        model = build_model(config, seed=0)
        state = load_file(path / entry.file)
        if kinds := {str(tensor.dtype) for tensor in state.values() if tensor.is_floating_point()} - {"torch.float32"}:
            raise InputError(f"{path}: member {entry.id} has weights in {kinds.pop()}, not in float32: export it anew")
        model.load_state_dict(state, strict=True)
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
