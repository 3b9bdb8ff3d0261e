"""Folders that killed Rays left are taken away, and nobody else's."""

import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hybridtune.search.cluster import local_ray
from hybridtune.search.cluster.local_ray import LOCK, RAY_PREFIX, _ray_folder, own_signals
from hybridtune.search.cluster.maps import cores


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        monkeypatch.setattr(local_ray, "RAY_FOLDERS", folder)
        yield Path(folder)


def left_behind(path: Path) -> Path:
    (path / "session").mkdir(parents=True)
    (path / "session" / "log").write_text("of a killed Ray")
    (path / LOCK).touch()
    return path


def test_a_folder_is_its_users_own_and_goes_with_the_block(folders: Path) -> None:
    with _ray_folder() as folder:
        about = Path(folder).stat()
        assert stat.S_IMODE(about.st_mode) == 0o700
        assert about.st_uid == os.getuid()
    assert not list(folders.iterdir())


def test_what_a_killed_process_left_is_taken_away_but_not_what_is_in_use(folders: Path) -> None:
    left, used = left_behind(folders / f"{RAY_PREFIX}left"), left_behind(folders / f"{RAY_PREFIX}used")
    with (used / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _ray_folder():
            assert not left.exists()
            assert (used / "session" / "log").exists()


def test_links_are_left_alone(folders: Path, tmp_path: Path) -> None:
    """Anybody may put one into a folder that all share."""
    precious = left_behind(tmp_path / "precious")
    (folders / f"{RAY_PREFIX}link").symlink_to(precious)
    inner = left_behind(folders / f"{RAY_PREFIX}inner")
    (inner / LOCK).unlink()
    (inner / LOCK).symlink_to(precious / LOCK)
    with _ray_folder():
        assert (precious / "session" / "log").exists()
        assert (inner / "session" / "log").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_left_alone(folders: Path) -> None:
    theirs = left_behind(folders / f"{RAY_PREFIX}theirs")
    os.chown(theirs, 65534, 65534)
    with _ray_folder():
        assert (theirs / "session" / "log").exists()


def test_a_ctrl_c_while_ray_starts_is_raised_though_somebody_swallows_it() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(KeyboardInterrupt), own_signals():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        done.append("all of the start")
    assert done
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_machine_that_knows_no_sets_of_cores_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS: launch, prepare and predict ended at once."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()
