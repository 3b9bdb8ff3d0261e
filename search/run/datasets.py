"""Prepared datasets in a bucket, or beside a run in its place; and on this host, once for all who need one."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from hybridtune.data.info import DatasetInfo
from hybridtune.data.schema import InputError
from hybridtune.data.store import ARRAYS, INFO, Dataset
from hybridtune.search.run.copies import fetch_file
from hybridtune.search.run.location import own_folder
from hybridtune.search.run.place import Moved, Place
from hybridtune.search.run.s3_place import SCHEME, S3Place
from hybridtune.search.run.say import Progress

FOLDER = "datasets"
"""Of a place and of this host; datasets lie below it under their fingerprints."""


def is_url(name: str | Path) -> bool:
    return str(name).startswith(SCHEME)


def find_dataset(name: str | Path) -> Path:
    """Its folder on this host, for a folder or s3://bucket/prefix. Raises InputError if there is no dataset, or
    PlaceError if the bucket cannot be used.
    """
    if not is_url(name):
        return Path(name)
    place = S3Place.at(str(name))
    place.check()
    described = place.read(INFO)
    if described is None:
        raise InputError(f"{place} holds no dataset: `hybridtune prepare RAW {place}` makes one")
    return _fetch(place, "", DatasetInfo.decode(described.decode(errors="replace"), f"{place}/{INFO}").fingerprint)


def keep_at(
    url: str, make: Callable[[Path], DatasetInfo], progress: Progress = lambda done, total: None
) -> DatasetInfo:
    """make: writes a dataset into a new folder, which is gone afterwards. progress: of the bytes that are then brought
    there. Raises InputError if there is a dataset at the URL already, or PlaceError if the bucket cannot be used;
    nothing is made then.
    """
    place = S3Place.at(url)
    place.check()
    if place.read(INFO) is not None:
        raise InputError(f"{place} exists already: remove it or name another")
    with TemporaryDirectory(prefix="hybridtune-") as folder:
        made = make(Path(folder) / "dataset")
        _keep(place, "", Path(folder) / "dataset", progress)
    return made


def keep_of_run(place: Place, dataset: Dataset, progress: Progress = lambda done, total: None) -> str:
    """Into the place of a run, all of it, whatever the run uses; returns the name below which it lies there."""
    assert isinstance(dataset.source, Path)
    name = f"{FOLDER}/{dataset.info.fingerprint}"
    # Its description says that it is whole.
    if place.read(f"{name}/{INFO}") is None:
        _keep(place, f"{name}/", dataset.source, progress)
    return name


def fetch_of_run(place: Place, fingerprint: str) -> Dataset:
    """Raises InputError if it is gone from the place."""
    return Dataset(_fetch(place, f"{FOLDER}/{fingerprint}/", fingerprint))


def _keep(place: Place, start: str, folder: Path, progress: Progress) -> None:
    names = (*ARRAYS, INFO)
    moved = _summed(progress, sum((folder / name).stat().st_size for name in names))
    for name in names:
        place.upload(f"{start}{name}", folder / name, moved)


def _summed(progress: Progress, total: int) -> Moved:
    done, one_at_a_time = 0, Lock()

    def moved(further: int) -> None:
        nonlocal done
        with one_at_a_time:
            # A piece that had to be sent again is moved twice.
            done = min(total, done + further)
            progress(done, total)

    return moved


def _fetch(place: Place, start: str, fingerprint: str) -> Path:
    folder = own_folder() / FOLDER / fingerprint
    if not (folder / INFO).exists():
        for name in (*ARRAYS, INFO):
            fetch_file(place, f"{start}{name}", folder / name)
    return folder
