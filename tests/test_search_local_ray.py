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
import ray
from ray._raylet import AuthenticationMode, get_authentication_mode

from hybridtune.data.schema import InputError
from hybridtune.search.cluster import local_ray as local_ray_module
from hybridtune.search.cluster import maps
from hybridtune.search.cluster.joined_ray import joined_ray
from hybridtune.search.cluster.local_ray import (
    LOCK,
    RAY_PREFIX,
    _ray_folder,
    local_ray,
    own_authentication,
    own_signals,
)
from hybridtune.search.cluster.maps import cores


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        monkeypatch.setattr(local_ray_module, "RAY_FOLDERS", folder)
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


@pytest.mark.parametrize(
    ("text", "whole"), [("max 100000", None), ("100000 100000", 1), ("150000 100000", 2), ("99900000 100000", None)]
)
def test_a_container_has_as_many_cores_as_its_share_of_their_time(
    text: str, whole: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker run --cpus=4` on 64 cores started 64 trials."""
    (tmp_path / "cpu.max").write_text(f"{text}\n")
    monkeypatch.setattr(maps, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    assert cores() == (whole or 64)


@pytest.mark.slow
def test_a_ray_of_our_own_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without a token was asked for one after it."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_MODE")
    with local_ray(1):
        assert get_authentication_mode() == AuthenticationMode.TOKEN
    assert "RAY_AUTH_MODE" not in os.environ
    assert get_authentication_mode() == AuthenticationMode.DISABLED


@pytest.mark.slow
def test_a_mode_that_the_process_sets_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, after the refusal that asks for it."""
    with own_authentication(), monkeypatch.context() as patch:
        for name, mode in (("disabled", AuthenticationMode.DISABLED), ("token", AuthenticationMode.TOKEN)):
            patch.setenv("RAY_AUTH_MODE", name)
            with local_ray(1):
                assert get_authentication_mode() == mode


@pytest.mark.slow
def test_a_ray_that_the_process_uses_is_left_alone() -> None:
    with own_authentication():
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            with (
                pytest.raises(InputError, match=r"this process uses Ray already: call ray\.shutdown\(\) before"),
                local_ray(1),
            ):
                pass
            with pytest.raises(InputError, match="this process uses Ray already"), joined_ray("10.0.0.9:6379"):
                pass
            assert ray.is_initialized()
        finally:
            ray.shutdown()


def test_a_machine_that_knows_no_sets_of_cores_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS: launch, prepare and predict ended at once."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()
