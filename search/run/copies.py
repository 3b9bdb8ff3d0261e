"""What of a run lies in its place, and how it comes back from there to a folder of any host.

leases/<epoch>.json          who drives it, see lease
drivers/<epoch>/run.json     last of all the documents, as that driver left them
tune/trial_00000/            checkpoints, written by workers
members/<id>/                as in a run directory, written by workers
datasets/<fingerprint>/      the prepared dataset, see datasets
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from hybridtune.data.document import TEMPORARY, write_atomically
from hybridtune.data.schema import InputError
from hybridtune.search.run.place import Place

DRIVERS, MEMBERS = "drivers", "members"
RUN, STUDY, STUDY_BACKUP, CURVE_LOG = "run.json", "study.db", "study.backup.db", "tune/curves.jsonl"

KEPT_OFTEN = (CURVE_LOG, STUDY_BACKUP)
"""In the order in which they are kept: a trial that the study knows to have ended has its whole curve."""

RESULTS = ("trials.parquet", "curves.parquet", "members.json", "predictions.parquet", "ensemble.json", "report")
"""Of the stages, whole when their stage has ended."""


FETCHED = ".fetched.json"
"""Of a folder where a run is looked at: the stamps of what it has."""


def keep(place: Place, epoch: int, folder: Path, names: Iterable[str]) -> None:
    """Files of the run's folder, or folders of it, into the place. What is gone here goes there too."""
    contents: dict[str, bytes | None] = {}
    # All is read before anything is written: the curve log is at least as new as the study that goes with it.
    for name in reversed(list(names)):
        path = folder / name
        files = [path] if not path.is_dir() else [file for file in path.rglob("*") if file.is_file()]
        for file in files:
            if not file.name.endswith(TEMPORARY):
                contents[file.relative_to(folder).as_posix()] = file.read_bytes() if file.exists() else None
    for name, content in reversed(contents.items()):
        there = f"{_of_driver(epoch)}/{STUDY if name == STUDY_BACKUP else name}"
        if content is None:
            place.remove(there)
        else:
            place.write(there, content)


def is_kept(place: Place) -> bool:
    return _newest_driver(place) is not None


def fetch(place: Place, folder: Path) -> None:
    """The run as it was kept last, into a folder whose other documents go. Raises InputError if it holds no run."""
    _fetch(place, folder, {})


def refresh(place: Place, folder: Path) -> None:
    """As `fetch`, into a folder where nobody writes, and only what has changed since the last time: a file that stays
    is there, whole, at every moment.
    """
    record = folder / FETCHED
    known = json.loads(record.read_bytes()) if record.exists() else {}
    write_atomically(record, json.dumps(_fetch(place, folder, known)).encode())


def _fetch(place: Place, folder: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The stamps of what there is. known: of what the folder has already."""
    driver = _newest_driver(place)
    if driver is None:
        raise InputError(f"{place} holds no run: `hybridtune launch` makes one")
    stamps = place.stamps(driver)
    here = {name: name.removeprefix(f"{driver}/") for name in stamps}
    # SQLite would mend the new study by the journal of the old one.
    (folder / f"{STUDY}-journal").unlink(missing_ok=True)
    # The document that says where the run is comes last.
    for name in sorted(stamps, key=lambda name: here[name] == RUN):
        if known.get(name) != stamps[name] or not (folder / here[name]).exists():
            fetch_file(place, name, folder / here[name])
    for root in (*RESULTS, CURVE_LOG, STUDY, STUDY_BACKUP):
        _remove_stale(folder, folder / root, set(here.values()))
    fetch_members(place, folder)
    return stamps


def forget_earlier(place: Place, epoch: int) -> None:
    """What drivers before `epoch` had kept, once that driver's own is whole."""
    mine = _of_driver(epoch)
    if _newest_driver(place) == mine:
        for name in place.names(DRIVERS):
            if name.rpartition("/")[0] < mine:
                place.remove(name)


def fetch_members(place: Place, folder: Path) -> None:
    """Those that are whole, all but their checkpoints."""
    there = place.names(MEMBERS)
    _remove_others(folder / MEMBERS, {PurePosixPath(name).parent.name for name in there})
    for name in there:
        path = folder / name
        if path.suffix == ".json" or (path.suffix == ".safetensors" and not path.exists()):
            fetch_file(place, name, path)


def _newest_driver(place: Place) -> str | None:
    drivers = [name.removesuffix(f"/{RUN}") for name in place.names(DRIVERS) if name.endswith(f"/{RUN}")]
    return max(drivers, default=None)


def _of_driver(epoch: int) -> str:
    return f"{DRIVERS}/{epoch:06d}"


def fetch_file(place: Place, name: str, path: Path) -> None:
    """Raises InputError if there is none of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not place.download(name, path, lambda moved: None):
        raise InputError(f"{name} is gone from {place}: put it back, or launch anew")


def _remove_stale(folder: Path, root: Path, kept: set[str]) -> None:
    files = [file for file in root.rglob("*") if file.is_file()] if root.is_dir() else [root]
    for file in files:
        if file.relative_to(folder).as_posix() not in kept:
            file.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in kept:
            _remove(path)
