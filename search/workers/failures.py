"""When a disk or the study's file ends a run: said in a line, with what to do about it."""

import shutil
import tempfile
import traceback
from pathlib import Path

from ray.tune import TuneError

from hybridtune.data.schema import InputError
from hybridtune.search.run.place import PlaceError
from hybridtune.search.run.run_dir import RunDir

FULL = ("No space left on device", "disk is full", "Disk quota exceeded", "File too large")
"""Words of the system and of SQLite; Tune hands on an error's text and nothing else."""
LOCKED = "database is locked"
DAMAGED = ("database disk image is malformed", "file is not a database")


class DiskFullError(RuntimeError):
    """The disk is full; the data itself is fine."""


class StudyFileError(RuntimeError):
    """study.db can be neither read nor written."""


class PlaceLostError(RuntimeError):
    """The run's place cannot be used any more."""


def refuse_full_disk(text: str) -> None:
    """Raises DiskFullError if an error's text speaks of one."""
    if any(words in text for words in FULL):
        raise DiskFullError(FULL[0])


def plain_error(run: RunDir, error: Exception) -> Exception:
    """The error itself, or what to do about it where that is known, or Tune's account of it without its traceback."""
    again = f"then `hybridtune resume {run.name}` goes on"
    if isinstance(error, PlaceError):
        # Nothing that was given is wrong: it went well until now.
        return PlaceLostError(f"{error}, {again}")
    if isinstance(error, InputError):
        return error
    text = "".join(traceback.format_exception(error))
    if any(words in text for words in FULL):
        return DiskFullError(f"a disk is full ({_free(run.path)}): make space, {again}")
    if LOCKED in text:
        return StudyFileError(f"{run.study} is locked by another program: end it, {again}")
    if any(words in text for words in DAMAGED):
        return StudyFileError(f"{run.study} is damaged: `hybridtune resume {run.name}` says what can be done")
    if isinstance(error, TuneError):
        return RuntimeError(str(error).strip().splitlines()[-1])
    return error


def _free(run: Path) -> str:
    folders = (run, Path(tempfile.gettempdir()))
    return ", ".join(f"{folder}: {shutil.disk_usage(folder).free / 2**20:.0f} MB free" for folder in folders)
