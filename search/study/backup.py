"""A consistent copy of study.db, and the check that finds damage in the original."""

import shlex
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from hybridtune.data.document import new_file
from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.reading import connect

LOCK_SECONDS = 30.0
"""How long another program may hold the file."""
READ_SECONDS = 5.0
"""The same, where all that is wanted is a look."""


def back_up(run: RunDir) -> None:
    """Replaces the copy, in one step (SQLite's online backup: what others write meanwhile is in it or not at all)."""
    with (
        new_file(run.study_backup) as file,
        closing(connect(run.study, READ_SECONDS)) as source,
        closing(sqlite3.connect(file)) as target,
    ):
        source.backup(target, progress=_Deadline(), sleep=0.05)


class _Deadline:
    """Ends a backup that waits for another program's lock; by itself it would wait for ever, deaf to an interrupt."""

    def __init__(self) -> None:
        self._waits_since: float | None = None

    def __call__(self, status: int, remaining: int, total: int) -> None:  # noqa: ARG002 SQLite's interface
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            self._waits_since = None
            return
        self._waits_since = self._waits_since or time.monotonic()
        if time.monotonic() - self._waits_since > LOCK_SECONDS:
            raise sqlite3.OperationalError("database is locked")


def has_study(run: RunDir) -> bool:
    """Whether the file holds a study; writes nothing. Optuna writes that row last."""
    if not run.study.exists():
        return False
    try:
        with closing(connect(run.study, READ_SECONDS)) as connection:
            return bool(connection.execute("SELECT count(*) FROM studies").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise


def check_study(run: RunDir) -> None:
    """Raises InputError if study.db is damaged, locked, or gone though it has a copy; what to do about it is in the
    message. A run that has neither has not begun.
    """
    path, backup = run.study, run.study_backup
    if not path.exists() and not backup.exists():
        return
    problem = _problem(path) if path.exists() else "it is gone"
    if problem is None:
        return
    if "locked" in problem:
        raise InputError(f"{path} is locked by another program: end it and try again")
    if backup.exists() and _problem(backup) is None:
        remedy = f"`{shlex.join(['mv', str(backup), str(path)])}` puts back its last copy; then resume"
    else:
        remedy = "there is no intact copy of it; launch anew"
    raise InputError(f"{path} is damaged ({problem}): {remedy}")


def _problem(path: Path) -> str | None:
    try:
        with closing(connect(path, READ_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else str(found)
