"""Layout and documents of a run directory. Its stages meet here, through files, and nowhere else.

run.json           RunDocument: settings, versions, status
study.db           the Optuna study, the truth of the search; study.backup.db is its copy of the last rung
trials.parquet     one row a trial               curves.parquet   one row a trial and iteration
tune/              trial_00000/: checkpoint while it runs, TensorBoard events; curves.jsonl
members/<id>/      model.safetensors, member.json
predictions.parquet  what the members and the ensemble said at the anchors of blend and test
ensemble.json      EnsembleDocument              report/index.html
"""

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import URL

from data.document import Document, new_folder, refuse_existing
from data.schema import InputError
from data.store import Dataset
from models.device import DeviceChoice, Hardware, PrecisionChoice
from models.training.fit import Metric
from spaces.parameters import Config, Dimension, Space
from spaces.trial_config import Budget

SchedulerName = Literal["asha", "hyperband", "none"]
Status = Literal["searching", "retraining", "blending", "done", "failed"]


class Settings(BaseModel):
    """What a search was asked to do. Written once; a resume reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    space_name: str = "hybrid"
    dimensions: dict[str, Dimension]
    guide: Config
    horizons: tuple[int, ...] | None = None
    """Of the dataset's; None: all of them."""
    trials: int = Field(ge=1)
    iterations: int = Field(default=100, ge=1)
    samples_per_iteration: int = Field(default=8192, ge=1)
    patience: int = Field(default=15, ge=1)
    metric: Metric = "tune_loss"
    grace_period: int = Field(default=4, ge=1)
    """Iterations before ASHA may stop a trial: its lowest rung."""
    reduction_factor: int = Field(default=3, ge=2)
    """ASHA keeps the best one in so many trials of a rung."""
    scheduler: SchedulerName = "asha"
    sampler: str = "tpe"
    """See search.study.sampler."""
    time_budget: float | None = Field(default=None, gt=0)
    """Seconds of search."""
    stop_after: int | None = Field(default=None, ge=1)
    """Trials without a better one that end the search."""
    warm_start: Path | None = None
    """An earlier run, whose completed trials the sampler learns from."""
    concurrent: int = Field(ge=1)
    gpus_per_trial: float = Field(default=0.0, ge=0)
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    micro_batch: int | None = Field(default=None, ge=1)
    """Anchors that go through a model at once; None: a whole batch, less where memory runs out."""
    top_k: int = Field(default=3, ge=1)
    seeds: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)

    @property
    def space(self) -> Space:
        return Space(self.space_name, self.dimensions, self.guide)

    def only_horizons(self, dataset: Dataset) -> Dataset:
        """The dataset as this run sees it. Raises InputError for a horizon that it does not have."""
        return dataset if self.horizons is None else dataset.only(self.horizons)

    @property
    def hardware(self) -> Hardware:
        return Hardware(self.gpus_per_trial > 0, self.device, self.precision)

    @property
    def budget(self) -> Budget:
        return Budget(self.iterations, self.samples_per_iteration, self.patience, self.metric, self.micro_batch)


class RunDocument(Document):
    """run.json"""

    settings: Settings
    dataset_fingerprint: str
    versions: dict[str, str]
    status: Status
    error: str | None = None


@dataclass(frozen=True)
class RunDir:
    path: Path

    @classmethod
    def create(cls, path: Path, settings: Settings, fingerprint: str) -> "RunDir":
        """Raises InputError if `path` exists; nothing is written then."""
        refuse_existing(path)
        document = RunDocument(
            settings=settings, dataset_fingerprint=fingerprint, versions=versions(), status="searching"
        )
        with new_folder(path) as folder:
            document.write(folder / "run.json")
            for name in ("tune", "members"):
                (folder / name).mkdir()
        return cls(path.resolve())

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """Raises InputError if `path` holds no run, or one of another format version."""
        if not (path / "run.json").is_file():
            raise InputError(f"{path} is not a run directory: `hybridtune launch` makes one")
        run = cls(path.resolve())
        run.document()
        return run

    @property
    def study_url(self) -> str:
        """Escaped: a path may hold what means something in a URL."""
        url = URL.create("sqlite", database=str(self.path / "study.db"))
        return url.render_as_string(hide_password=False)

    @property
    def curve_log(self) -> Path:
        return self.path / "tune" / "curves.jsonl"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def ensemble(self) -> Path:
        return self.path / "ensemble.json"

    @property
    def report(self) -> Path:
        return self.path / "report" / "index.html"

    def trial(self, number: int) -> Path:
        return self.path / "tune" / f"trial_{number:05d}"

    def member(self, member_id: str) -> Path:
        return self.path / "members" / member_id

    def document(self) -> RunDocument:
        return RunDocument.read(self.path / "run.json")

    def open_dataset(self) -> Dataset:
        """Raises InputError if the dataset is gone or is not the one that the run was started with."""
        document = self.document()
        dataset = Dataset(document.settings.dataset)
        if dataset.info.fingerprint != document.dataset_fingerprint:
            raise InputError(
                f"{document.settings.dataset} has fingerprint {dataset.info.fingerprint}, the run was started with "
                f"{document.dataset_fingerprint}: put the old dataset back or launch anew"
            )
        return document.settings.only_horizons(dataset)

    def update(self, **changes: object) -> RunDocument:
        """Writes run.json anew with some fields changed."""
        document = RunDocument.model_validate(self.document().model_dump() | changes)
        document.write(self.path / "run.json")
        return document

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one process that works on the run; the kernel drops it when that process dies.

        Raises InputError if another process holds it, or if nothing can be written here.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}): free it, then try again") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another process works on {self.path}: wait for it or stop it first") from None
            yield


def versions() -> dict[str, str]:
    packages = ("hybridtune", "torch", "ray", "optuna")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
