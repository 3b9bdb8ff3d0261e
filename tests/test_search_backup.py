"""study.db is copied while it is written, and damage to it is told from a lock."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study import backup
from hybridtune.search.study.backup import back_up, check_study
from hybridtune.search.study.study import ask, create_study, open_study, started, study_url
from hybridtune.spaces.hybrid import HYBRID


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Its folder's name would mean something in a URL."""
    run = RunDir(tmp_path / "50% run?#1")
    run.path.mkdir()
    study = create_study(run, HYBRID, "tune_loss")
    for _ in range(3):
        ask(study, HYBRID, seed=0)
    back_up(run)
    return run


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20_000)


def test_the_copy_is_the_study_of_its_moment(run: RunDir) -> None:
    ask(create_study(run, HYBRID, "tune_loss"), HYBRID, seed=0)
    check_study(run)
    shutil.copy(run.study_backup, run.study)
    assert len(started(open_study(run))) == 3
    ask(create_study(run, HYBRID, "tune_loss"), HYBRID, seed=0)
    back_up(run)
    assert sorted(path.name for path in run.path.iterdir()) == ["study.backup.db", "study.db"]


def test_a_damaged_study_is_said_and_its_copy_offered(run: RunDir) -> None:
    damage(run.study)
    with pytest.raises(
        InputError, match=r"study\.db is damaged \(.*\): `mv .*study\.backup\.db' .*study\.db'` puts back"
    ):
        open_study(run)
    with pytest.raises(InputError, match="is damaged"):
        create_study(run, HYBRID, "tune_loss")
    shutil.copy(run.study_backup, run.study)
    assert len(started(open_study(run))) == 3


def test_a_study_that_is_gone_is_not_begun_anew_while_there_is_a_copy(run: RunDir) -> None:
    (run.study).unlink()
    for use in (open_study, lambda run: create_study(run, HYBRID, "tune_loss")):
        with pytest.raises(InputError, match=r"study\.db is damaged \(it is gone\): `mv .*` puts back"):
            use(run)
    assert not (run.study).exists()


@pytest.mark.parametrize("content", [b"no database at all", b""])
def test_a_study_that_is_something_else_is_said(run: RunDir, content: bytes) -> None:
    (run.study).write_bytes(content)
    (run.study_backup).unlink()
    with pytest.raises(InputError, match=r"there is no intact copy of it|holds no study yet"):
        open_study(run)


def test_a_damaged_copy_is_not_offered(run: RunDir) -> None:
    damage(run.study)
    damage(run.study_backup)
    with pytest.raises(InputError, match="there is no intact copy of it; launch anew"):
        check_study(run)


def test_a_locked_study_is_said_to_be_locked(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "READ_SECONDS", 0.1)
    other = sqlite3.connect(run.study)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"study\.db is locked by another program: end it and try again"):
        open_study(run)
    other.close()
    check_study(run)


def test_a_backup_waits_for_a_lock_and_not_for_ever(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(run.study, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, lambda: other.execute("ROLLBACK")).start()
    back_up(run)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(backup, "LOCK_SECONDS", 0.3)
    before = run.study_backup.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        back_up(run)
    other.close()
    assert run.study_backup.read_bytes() == before
    assert sorted(path.name for path in run.path.iterdir()) == ["study.backup.db", "study.db"]


def test_a_backup_that_waits_can_be_interrupted(run: RunDir) -> None:
    other = sqlite3.connect(run.study, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    interrupt = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        back_up(run)
    interrupt.join()
    other.close()


def test_looking_at_a_study_that_is_being_made_leaves_it_alone(tmp_path: Path) -> None:
    """With tables of its own the look would make the launch fail that makes them right then."""
    run = RunDir(tmp_path)
    sqlite3.connect(run.study).close()
    run.study.touch()
    with pytest.raises(InputError, match="holds no study yet"):
        open_study(run)
    assert run.study.read_bytes() == b""
    RDBStorage(study_url(run))
    with pytest.raises(InputError, match="holds no study yet"):
        open_study(run)
    create_study(run, HYBRID, "tune_loss")
    assert started(open_study(run)) == []


KILLED_WHILE_WRITING = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that changed pages reach the file before the end
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE filler (text)")
connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 4000,)] * 200)
connection.execute("DELETE FROM trials")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_study_whose_writer_was_killed_in_the_middle_is_whole(run: RunDir) -> None:
    """It was called damaged, and where there was no copy yet the advice was to launch anew."""
    run.study_backup.unlink()
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(run.study)], check=False)
    assert Path(f"{run.study}-journal").stat().st_size > 0
    check_study(run)
    assert len(started(open_study(run))) == 3
    back_up(run)
    assert not Path(f"{run.study}-journal").exists()
