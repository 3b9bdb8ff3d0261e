"""What ended a run is said with what to do about it."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from ray.tune import TuneError

from hybridtune.data.schema import InputError
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.workers.failures import DiskFullError, StudyFileError, plain_error, refuse_full_disk


def raised(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        raised(RuntimeError("commit failed"), sqlite3.OperationalError("database or disk is full")),
        TuneError("Traceback (most recent call last):\n...\nOSError: [Errno 28] No space left on device: 'x'"),
    ],
)
def test_a_full_disk_is_named_with_what_is_free_and_how_to_go_on(tmp_path: Path, error: Exception) -> None:
    plain = plain_error(RunDir(tmp_path), error)
    assert isinstance(plain, DiskFullError)
    assert str(plain).startswith(f"a disk is full ({tmp_path}: ")
    assert str(plain).endswith(f"MB free): make space, then `hybridtune resume {tmp_path}` goes on")


def test_a_study_that_another_program_locks_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    storage = optuna.storages.RDBStorage(f"sqlite:///{run}/study.db", engine_kwargs={"connect_args": {"timeout": 0}})
    study = optuna.create_study(storage=storage)
    with closing(sqlite3.connect(run / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(optuna.exceptions.StorageInternalError) as locked:
            study.ask()
    plain = plain_error(RunDir(run), locked.value)
    assert isinstance(plain, StudyFileError)
    assert str(plain) == (
        f"{run}/study.db is locked by another program: end it, then `hybridtune resume {run}` goes on"
    )


def test_a_study_that_is_damaged_is_named(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.ask()
    path = tmp_path / "study.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\0" * (path.stat().st_size - 4096))
    with pytest.raises(optuna.exceptions.StorageInternalError) as damaged:
        study.ask()
    plain = plain_error(RunDir(tmp_path), damaged.value)
    assert isinstance(plain, StudyFileError)
    assert "study.db is damaged" in str(plain)


def test_what_tune_tells_is_cut_to_the_error_itself(tmp_path: Path) -> None:
    plain = plain_error(
        RunDir(tmp_path), TuneError("Traceback (most recent call last):\n  File\nKeyError: 'trial_3'\n")
    )
    assert str(plain) == "KeyError: 'trial_3'"


@pytest.mark.parametrize("error", [InputError("a disk is full of sense"), ValueError("none of ours")])
def test_any_other_error_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    assert plain_error(RunDir(tmp_path), error) is error


def test_a_worker_without_space_is_no_lost_worker() -> None:
    with pytest.raises(DiskFullError):
        refuse_full_disk("Failure # 1\nOSError: [Errno 28] No space left on device")
    refuse_full_disk("Failure # 1\nRayActorError: the actor died")
