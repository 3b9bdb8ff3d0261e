"""Which driver a run belongs to, said to all hosts through its place, as no host sees another's locks.

Each driver claims an epoch, one above the last, and shows that it is alive by rewriting its claim. One that meets a
higher claim than its own was thought dead, and another has gone on from what it had kept: it ends. Until it notices it
may write, but only under its own epoch, which nobody reads any more.
"""

import os
import secrets
import socket
import time
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime

from hybridtune.data.document import Document
from hybridtune.data.schema import InputError
from hybridtune.search.run.place import Place
from hybridtune.search.run.say import Say

FOLDER, STOPS = "leases", "stops"

BEAT_SECONDS = 10.0
SILENT_SECONDS = 30.0
"""A driver that is silent for so long, on the clock of who waits, is thought dead."""
LOOK_SECONDS = 1.0


class DeposedError(RuntimeError):
    """Another driver has taken over the run."""


class Lease(Document):
    """leases/<epoch>.json"""

    epoch: int
    owner: str
    """Of all claims to an epoch that two drivers make at once, no two are equal."""
    host: str
    process: int
    beats: int = 0
    at: AwareDatetime
    """The time of the last beat, on the driver's clock."""
    behind: float = 0.0
    """Seconds since the oldest change that was not in the place then; 0 if all was."""
    ended: bool = False

    @property
    def name(self) -> str:
        return f"{FOLDER}/{self.epoch:06d}.json"

    @property
    def stop(self) -> str:
        """The name of what asks the driver to stop."""
        return f"{STOPS}/{self.epoch:06d}"

    @property
    def driver(self) -> str:
        """For people."""
        return f"process {self.process} on host {self.host}"

    def beat(self, behind: float = 0.0, *, ended: bool = False) -> Self:
        """The next to be written."""
        changes = {"beats": self.beats + 1, "at": datetime.now(UTC), "behind": behind, "ended": ended}
        return self.model_copy(update=changes)


def latest(place: Place) -> Lease | None:
    """None if no driver has ever claimed the run."""
    names = place.names(FOLDER)
    content = place.read(names[-1]) if names else None
    return None if content is None else Lease.decode(content.decode(), f"{place}/{names[-1]}")


def claim(place: Place, say: Say) -> Lease:
    """The next epoch, once the last driver has ended or has been silent for long enough.

    Raises InputError if that is alive, or if another has claimed the epoch meanwhile.
    """
    before = latest(place)
    if before is not None and not before.ended:
        _wait_for_silence(place, before, say)
    lease = Lease(
        epoch=before.epoch + 1 if before is not None else 1,
        owner=secrets.token_hex(8),
        host=socket.gethostname(),
        process=os.getpid(),
        at=datetime.now(UTC),
    )
    if not place.create(lease.name, lease.encode()):
        raise InputError(f"another process has just begun to work on {place}: wait for it, or stop it first")
    return lease


def _wait_for_silence(place: Place, lease: Lease, say: Say) -> None:
    say(f"{lease.driver} has worked on {place} and not ended: waiting {SILENT_SECONDS:.0f} seconds for a sign of life")
    until = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        now = latest(place)
        if now == lease:
            continue
        if now is not None and now.epoch == lease.epoch and now.ended:
            return
        working = now or lease
        raise InputError(f"{working.driver} works on {place}: wait for it, or `hybridtune stop {place}` first")


def refuse_deposed(place: Place, lease: Lease) -> None:
    """Raises DeposedError if another driver has claimed a later epoch."""
    now = latest(place)
    if now is not None and now.epoch > lease.epoch:
        raise DeposedError(f"{now.driver} has taken over {place}, as this one was silent for too long: it ends")
