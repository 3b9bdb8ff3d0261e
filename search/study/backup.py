"""A consistent copy of study.db, and the check that finds damage in the original."""

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hybridtune.data.document import new_file
from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir

LOCK_SECONDS = 5.0


def back_up(run: RunDir) -> None:
    """Replaces the copy, in one step (SQLite's online backup: what others write meanwhile is in it or not at all)."""
    with (
        new_file(run.study_backup) as file,
        closing(_read_only(run.study)) as source,
        closing(sqlite3.connect(file)) as target,
    ):
        source.backup(target)


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
        remedy = f"`{shlex.join(['cp', str(backup), str(path)])}` puts back the copy of the last rung; then resume"
    else:
        remedy = "there is no intact copy of it; launch anew"
    raise InputError(f"{path} is damaged ({problem}): {remedy}")


def _problem(path: Path) -> str | None:
    try:
        with closing(_read_only(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else str(found)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=LOCK_SECONDS)
