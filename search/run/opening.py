"""How a run is taken hold of: to look at it, or to work on it as its one driver."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hybridtune.data.document import refuse_existing
from hybridtune.data.schema import InputError
from hybridtune.search.run import copies
from hybridtune.search.run.keeper import PlaceKeeper
from hybridtune.search.run.lease import claim
from hybridtune.search.run.location import Location, locate
from hybridtune.search.run.place import FolderPlace, Place
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings

DRIVEN, SEEN = "driven", "seen"
"""Folders of this host for a run that is kept elsewhere: who looks at it does not disturb who works on it."""


def open_run(name: str | Path) -> RunDir:
    """To look at it, as it is now. Raises InputError if there is none, or PlaceError if its place cannot be used."""
    location = locate(name)
    if location.place is None:
        return RunDir.open(location.path)
    location.place.check()
    folder = location.path / SEEN
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        # Several may look: one brings it, the others find it there.
        fcntl.flock(file, fcntl.LOCK_EX)
        copies.refresh(location.place, folder)
    return RunDir.open(folder, location.place)


def exists(location: Location) -> bool:
    """Raises PlaceError if the run's place cannot be used."""
    place = location.place
    if place is None:
        return os.path.lexists(location.path)
    if isinstance(place, FolderPlace) and not place.path.exists():
        # The mount is there, and `create_run` makes the folder.
        return False
    place.check()
    return copies.is_kept(place)


def refuse_existing_run(location: Location) -> None:
    """Raises InputError if a run could not be launched there, PlaceError if nothing can be kept there."""
    if location.place is None:
        return refuse_existing(location.path)
    if exists(location):
        raise InputError(
            f"{location.name} exists already: name another, or `hybridtune resume {location.name}` goes on with it"
        )
    if (left := location.path / DRIVEN).exists():
        raise InputError(f"{left} is left of a run in {location.name}, which is gone from there: remove that folder")
    return None


def create_run(location: Location, settings: Settings, fingerprint: str) -> RunDir:
    """On this host; its place learns of it from its driver. Raises InputError if the folder exists."""
    if location.place is None:
        return RunDir.create(location.path, settings, fingerprint)
    if isinstance(location.place, FolderPlace):
        location.place.path.mkdir(parents=True, exist_ok=True)
    return RunDir.create(location.path / DRIVEN, settings, fingerprint, location.place)


@contextmanager
def driving(run: RunDir, say: Say) -> Iterator[RunDir]:
    """The run to work on, as it was kept last: a change of it since `run` was opened is in it.

    Raises InputError if another process works on the run, and PlaceError if at the end something could not be kept.
    """
    if run.kept_in is None:
        with run.lock():
            yield run
        return
    folder = locate(run.name).path / DRIVEN
    folder.mkdir(parents=True, exist_ok=True)
    here = RunDir(folder, run.kept_in)
    with here.lock(), _kept(run.kept_in, folder, say) as keeper:
        yield replace(here, keeper=keeper)


@contextmanager
def _kept(place: Place, folder: Path, say: Say) -> Iterator[PlaceKeeper]:
    keeper = PlaceKeeper(place, folder, claim(place, say))
    keeper.start()
    try:
        if copies.is_kept(place):
            copies.fetch(place, folder)
            # All but run.json: until that follows, this driver has changed nothing.
            keeper.keep(copies.CURVE_LOG, copies.STUDY, *copies.RESULTS)
        yield keeper
    except BaseException:
        # What ended the work is what people should read.
        with suppress(Exception):
            keeper.end()
        raise
    keeper.end()
