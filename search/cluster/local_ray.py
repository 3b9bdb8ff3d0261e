"""The Ray that a stage runs on: started for it on this machine, ended with it."""

import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from hybridtune.data.schema import InputError

RAY_FOLDERS, RAY_PREFIX = "/tmp", "ht-"  # noqa: S108 its names are drawn
"""Short: Ray's sockets lie below its temporary folder, and a socket's path has at most 107 characters."""
LOCK = "hybridtune.lock"
AUTHENTICATION = "RAY_AUTH_MODE"
UNWINDING, UNWINDING_SECONDS = "TUNE_FUNCTION_THREAD_TIMEOUT_S", "600"
"""How long a worker may take to end a training that was stopped. After Tune's own 2 seconds the worker counts as unfit
for the next trial, which fails without a word to anybody."""


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """A Ray of our own on this machine, ended with the block. Never joins one that runs already.

    Raises InputError if this process uses Ray already.
    """
    import ray

    from hybridtune.models.device import worker_environment

    refuse_ray_in_use()
    with _ray_folder() as folder, own_authentication():
        try:
            with own_signals():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    runtime_env={"env_vars": worker_environment() | {UNWINDING: UNWINDING_SECONDS}},
                    _temp_dir=folder,
                    # Tune does not survive the error that Ray's memory monitor raises. Without the monitor the kernel
                    # kills workers first too, and their trials are tried again as after any lost worker
                    # (search.workers.retries).
                    _system_config={"memory_monitor_refresh_ms": 0},
                )
            yield
        finally:
            ray.shutdown()


@contextmanager
def own_authentication() -> Iterator[None]:
    """Around a Ray that this process starts. Ray sets the mode of the process to that of its own Ray, and a driver that
    wants tokens counts as dead with the hosts of a cluster, joined later, that has none.
    """
    before = os.environ.get(AUTHENTICATION)
    read_authentication()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(AUTHENTICATION, None)
        else:
            os.environ[AUTHENTICATION] = before
        read_authentication()


def read_authentication() -> None:
    """Mode and token as they are now: Ray's core keeps what it read first in this process, where a notebook may have
    set another since.
    """
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def refuse_ray_in_use() -> None:
    """Raises InputError if this process uses Ray already, whose actors and objects would end with ours."""
    import ray

    if ray.is_initialized():
        raise InputError("this process uses Ray already: call ray.shutdown() before, or launch in a process of its own")


@contextmanager
def own_signals() -> Iterator[None]:
    """Around the start of Ray, which takes SIGTERM for itself, to print its own stack and leave. A Ctrl-C that comes
    meanwhile is raised at the end: what Ray imports and tries may swallow it.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _ray_folder() -> Iterator[str]:
    """For Ray's files, locked as long as this process lives; takes those away whose processes were killed."""
    for left in Path(RAY_FOLDERS).glob(f"{RAY_PREFIX}*"):
        with suppress(OSError), _opened_lock(left) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_ray_folder(left / LOCK)
    with (
        tempfile.TemporaryDirectory(prefix=RAY_PREFIX, dir=RAY_FOLDERS, ignore_cleanup_errors=True) as folder,
        Path(folder, f"{LOCK}.new").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Not there to be found before it is locked.
        Path(lock.name).rename(Path(folder, LOCK))
        yield folder


def _opened_lock(folder: Path) -> TextIO:
    """Raises OSError unless the folder is this user's own and no link: anybody may put something of that name there."""
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise PermissionError(f"{folder} is somebody else's")
    return os.fdopen(os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW))


def _remove_ray_folder(lock: Path) -> None:
    # The lock goes last: what was started by the killed process may write until it ends too, and is left to the next.
    for path in lock.parent.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path != lock:
            path.unlink()
    if list(lock.parent.iterdir()) == [lock]:
        shutil.rmtree(lock.parent)
