"""Asks the process that works on a run to stop, as Ctrl-C would: what it has is kept, and a resume goes on."""

import fcntl
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from hybridtune.data.schema import InputError
from hybridtune.search.run.interrupt import interrupt
from hybridtune.search.run.lease import BEAT_SECONDS, SILENT_SECONDS, Lease, latest
from hybridtune.search.run.place import Place
from hybridtune.search.run.run_dir import LOCK, RunDir

ENDING_SECONDS = 90.0
"""How long a driver may take to end its trials and to keep what it has."""
LOOK_SECONDS = 0.2


class NotStoppedError(RuntimeError):
    """The process was asked, and works on."""


def stop(run: RunDir) -> str:
    """Returns who has stopped, for people. Raises InputError if nobody works on the run or it is out of reach, and
    NotStoppedError if it does not end in time.
    """
    return _stop_here(run) if run.kept_in is None else _stop_through(run.kept_in)


def is_driven(run: RunDir) -> bool:
    """Whether a process works on it, as far as can be told from here."""
    if run.kept_in is None:
        return _is_held(run)
    lease = latest(run.kept_in)
    silent = SILENT_SECONDS if lease is None else (datetime.now(UTC) - lease.at).total_seconds()
    return lease is not None and not lease.ended and silent < SILENT_SECONDS


def _stop_here(run: RunDir) -> str:
    if not _is_held(run):
        raise _nobody(run.name)
    written = (run.path / LOCK).read_text(encoding="utf-8")
    if not written:
        raise InputError(f"a process has just begun to work on {run.name}: try again")
    holder = json.loads(written)
    driver = f"process {holder['process']} on host {holder['host']}"
    if holder["host"] != socket.gethostname():
        raise InputError(f"{driver} works on {run.name}: stop it there")
    # It may have ended since.
    with suppress(ProcessLookupError):
        interrupt(holder["process"])
    _wait_until(lambda: not _is_held(run), driver)
    return driver


def _is_held(run: RunDir) -> bool:
    try:
        with (run.path / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _stop_through(place: Place) -> str:
    lease = latest(place)
    if lease is None or lease.ended:
        raise _nobody(str(place))
    place.write(lease.stop, b"")
    try:
        _wait_until(_Ending(place, lease).has_ended, lease.driver)
    finally:
        # A driver that is dead would leave it.
        place.remove(lease.stop)
    return lease.driver


class _Ending:
    """Of a driver that was asked to stop."""

    def __init__(self, place: Place, lease: Lease) -> None:
        self._place, self._lease = place, lease
        self._heard = time.monotonic()

    def has_ended(self) -> bool:
        """Raises InputError if there is no sign of life of it any more."""
        now = latest(self._place)
        if now is None or now.epoch > self._lease.epoch or now.ended:
            return True
        if now != self._lease:
            self._lease, self._heard = now, time.monotonic()
        elif time.monotonic() - self._heard > SILENT_SECONDS:
            raise _nobody(str(self._place))
        return False


def _wait_until(ended: Callable[[], bool], driver: str) -> None:
    until = time.monotonic() + BEAT_SECONDS + ENDING_SECONDS
    while not ended():
        if time.monotonic() > until:
            raise NotStoppedError(f"{driver} was asked to stop and works on: look at it, or kill it; a resume goes on")
        time.sleep(LOOK_SECONDS)


def _nobody(name: str) -> InputError:
    return InputError(f"nobody works on {name}: `hybridtune resume {name}` goes on with it")
