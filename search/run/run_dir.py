"""Layout and documents of a run directory. Its stages meet here, through files, and nowhere else. A run that is kept in
a bucket or on a mount has such a directory on the host that works on it, and on each that looks at it; see copies.

run.json           RunDocument: settings, versions, status
study.db           the Optuna study, the truth of the search; study.backup.db is its copy of the last rung
trials.parquet     one row a trial               curves.parquet   one row a trial and iteration
tune/              trial_00000/: checkpoint while it runs, TensorBoard events; curves.jsonl
members.json       which members are trained   members/<id>/      model-<digest>.safetensors, member.json
log.txt            what the run said, and Ray and Optuna with it, on the host that works on it
predictions.parquet  of members, ensemble and baselines at the anchors of blend and test
ensemble.json      EnsembleDocument              report/index.html
"""

import fcntl
import json
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from hybridtune.data.document import TEMPORARY, Document, new_folder, refuse_existing
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.run import copies, datasets
from hybridtune.search.run.keeper import Keeper, NothingToKeep
from hybridtune.search.run.place import FolderPlace, Place
from hybridtune.search.run.say import Progress
from hybridtune.search.run.settings import Settings

LOCK = ".lock"
"""Names the process that holds it."""

Status = Literal["searching", "retraining", "blending", "done", "failed"]


class RunDocument(Document):
    """run.json"""

    current_version: ClassVar[int] = 5

    version: int = 5
    settings: Settings
    dataset_fingerprint: str
    versions: dict[str, str]
    status: Status
    error: str | None = None
    epoch: int = 1
    """How many drivers have worked on the run, this one included."""
    test_readings: int = 0
    """How often the test slice was scored. Whatever is decided after the first reading may have selected on it."""


@dataclass(frozen=True)
class RunDir:
    path: Path
    kept_in: Place | None = None
    """Where the run is, if the folder is but what this host works in."""
    keeper: Keeper = field(default=NothingToKeep(), compare=False)
    """Of the process that works on the run."""

    @classmethod
    def create(cls, path: Path, settings: Settings, fingerprint: str, kept_in: Place | None = None) -> "RunDir":
        """Raises InputError if `path` exists; nothing is written then."""
        refuse_existing(path)
        document = RunDocument(
            settings=settings, dataset_fingerprint=fingerprint, versions=versions(), status="searching"
        )
        with new_folder(path) as folder:
            document.write(folder / copies.RUN)
            for name in ("tune", "members"):
                (folder / name).mkdir()
        return cls(path.resolve(), kept_in)

    @classmethod
    def open(cls, path: Path, kept_in: Place | None = None) -> "RunDir":
        """Raises InputError if `path` holds no run, or one of another format version."""
        if not (path / copies.RUN).is_file():
            raise InputError(f"{path} is not a run directory: `hybridtune launch` makes one")
        run = cls(path.resolve(), kept_in)
        run.document()
        return run

    @property
    def name(self) -> str:
        """What people call it: commands take it."""
        return str(self.kept_in or self.path)

    @property
    def study(self) -> Path:
        return self.path / copies.STUDY

    @property
    def study_backup(self) -> Path:
        return self.path / copies.STUDY_BACKUP

    @property
    def trials(self) -> Path:
        return self.path / "trials.parquet"

    @property
    def curves(self) -> Path:
        return self.path / "curves.parquet"

    @property
    def tune(self) -> Path:
        """Ray Tune's folder of the search."""
        return self.path / "tune"

    @property
    def curve_log(self) -> Path:
        return self.path / copies.CURVE_LOG

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def ensemble(self) -> Path:
        return self.path / "ensemble.json"

    @property
    def report(self) -> Path:
        return self.path / "report" / "index.html"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def chosen_members(self) -> Path:
        return self.path / "members.json"

    @property
    def place(self) -> Place:
        """For what workers write: names below the run."""
        return self.kept_in or FolderPlace(self.path)

    def trial(self, number: int) -> Path:
        return self.path / trial_name(number)

    def member(self, member_id: str) -> Path:
        return self.path / member_name(member_id)

    def document(self) -> RunDocument:
        return RunDocument.read(self.path / copies.RUN)

    def open_dataset(self) -> Dataset:
        """Raises InputError if the dataset is gone or is not the one that the run was started with."""
        document = self.document()
        dataset = self._dataset(document)
        if dataset.info.fingerprint != document.dataset_fingerprint:
            raise InputError(
                f"{document.settings.dataset} has fingerprint {dataset.info.fingerprint}, the run was started with "
                f"{document.dataset_fingerprint}: put the old dataset back or launch anew"
            )
        return document.settings.only_horizons(dataset)

    def _dataset(self, document: RunDocument) -> Dataset:
        path = document.settings.dataset
        if self.kept_in is None:
            return Dataset(path)
        # The path is one of the host that launched the run.
        if path.is_dir() and (dataset := Dataset(path)).info.fingerprint == document.dataset_fingerprint:
            return dataset
        return datasets.fetch_of_run(self.kept_in, document.dataset_fingerprint)

    def keep_dataset(self, progress: Progress) -> None:
        """Beside the run that is kept elsewhere, so that any host can go on with it."""
        assert self.kept_in is not None
        # As it lies here, with all its horizons.
        datasets.keep_of_run(self.kept_in, self._dataset(self.document()), progress)

    def update(self, **changes: object) -> RunDocument:
        """Writes run.json anew with some fields changed."""
        document = RunDocument.model_validate(self.document().model_dump() | changes)
        document.write(self.path / copies.RUN)
        self.keeper.keep(copies.RUN)
        return document

    def fetch_members(self) -> None:
        """Those that workers have made, so that they can be read here."""
        if self.kept_in is not None:
            copies.fetch_members(self.kept_in, self.path)

    def count_test_reading(self) -> None:
        """Before the reading, so that one that was cut short counts too."""
        self.update(test_readings=self.document().test_readings + 1)

    def remove_leftovers(self) -> None:
        """Of processes that were killed while they saved. The caller holds the run's lock."""
        for path in self.path.rglob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one process that works on the run; the kernel drops it when that process dies.

        Raises InputError if another process holds it, or if nothing can be written here.
        """
        try:
            file = (self.path / LOCK).open("a+")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}): free it, then try again") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another process works on {self.path}: wait for it, or `hybridtune stop {self.name}` first"
                ) from None
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
            file.flush()
            try:
                yield
            finally:
                # Who looks while the next one takes it finds nobody named, and not a process that has ended.
                file.truncate(0)


TRIALS = "tune"


def trial_name(number: int) -> str:
    """Of a trial's part of the run."""
    return f"{TRIALS}/trial_{number:05d}"


def member_name(member_id: str) -> str:
    return f"members/{member_id}"


def versions() -> dict[str, str]:
    packages = ("hybridtune", "torch", "ray", "optuna")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
