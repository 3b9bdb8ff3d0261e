"""Brings what a driver writes to the place where its run is kept, in an order that a loss of its host cannot harm."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from typing import Protocol

from hybridtune.search.run.copies import KEPT_OFTEN, forget_earlier, keep
from hybridtune.search.run.interrupt import interrupt
from hybridtune.search.run.lease import BEAT_SECONDS, Lease, refuse_deposed
from hybridtune.search.run.place import Place


class Keeper(Protocol):
    def epoch_after(self, last: int) -> int:
        """The epoch of this driver. last: of the one before, 0 for none."""

    def keep(self, *names: str) -> None:
        """Files of the run, or folders of it, are in the place as they are here when this returns."""

    def keep_search(self, then: Callable[[], None] | None = None) -> None:
        """The copy of the study or the curve log has changed. It is brought to the place soon, and this returns at
        once. then: called when what there is now has arrived, in any thread.
        """

    def flush(self) -> None:
        """Waits until all has arrived."""

    def check(self) -> None:
        """Raises what went wrong since: PlaceError, or DeposedError if another driver has taken over."""

    def end(self) -> None:
        """Brings what is left and gives the run up, so that the next driver need not wait. Raises as `check` does."""


class NothingToKeep:
    """Of a run that is kept in its own folder."""

    def epoch_after(self, last: int) -> int:
        return last + 1

    def keep(self, *names: str) -> None:
        """It is there."""

    def keep_search(self, then: Callable[[], None] | None = None) -> None:
        if then is not None:
            then()

    def flush(self) -> None:
        """It is there."""

    def check(self) -> None:
        """Nothing can go wrong."""

    def end(self) -> None:
        """It is there."""


class PlaceKeeper:
    """Keeps a driver's files under its epoch, and its lease alive, from `start` to `end`.

    One thread brings the search's files; while it does, what changes meanwhile gathers and goes with the next round. So
    a slow store delays the removal of checkpoints and nothing else.
    """

    def __init__(self, place: Place, folder: Path, lease: Lease) -> None:
        self._place = place
        self._folder = folder
        self._lease = lease
        self._condition = Condition()
        self._changes, self._arrived = 0, 0
        """How many calls of `keep_search` there were, and how many of them have arrived."""
        self._waiting: list[Callable[[], None]] = []
        self._behind_since: float | None = None
        self._error: Exception | None = None
        self._ending = False
        self._thread = Thread(target=self._work, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        try:
            self.flush()
        finally:
            with self._condition:
                self._ending = True
                self._condition.notify_all()
            self._thread.join()
        forget_earlier(self._place, self._lease.epoch)
        self._beat(ended=True)

    def epoch_after(self, last: int) -> int:  # noqa: ARG002 others may have claimed the run in between
        return self._lease.epoch

    def keep(self, *names: str) -> None:
        self.check()
        keep(self._place, self._lease.epoch, self._folder, names)

    def keep_search(self, then: Callable[[], None] | None = None) -> None:
        with self._condition:
            self._changes += 1
            self._behind_since = self._behind_since or time.monotonic()
            if then is not None:
                self._waiting.append(then)
            self._condition.notify_all()

    def flush(self) -> None:
        with self._condition:
            wanted = self._changes
            self._condition.wait_for(lambda: self._arrived >= wanted or self._error is not None)
        self.check()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            due = time.monotonic() + BEAT_SECONDS
            while not self._ending:
                with self._condition:
                    self._condition.wait_for(
                        lambda: self._ending or self._arrived < self._changes, max(0.0, due - time.monotonic())
                    )
                if self._arrived < self._changes:
                    self._bring()
                if time.monotonic() >= due:
                    self._beat()
                    refuse_deposed(self._place, self._lease)
                    self._stop_if_asked()
                    due = time.monotonic() + BEAT_SECONDS
        except Exception as error:
            with self._condition:
                self._error = error
                self._condition.notify_all()

    def _stop_if_asked(self) -> None:
        if self._place.read(self._lease.stop) is not None:
            self._place.remove(self._lease.stop)
            # As Ctrl-C does.
            interrupt(os.getpid())

    def _bring(self) -> None:
        with self._condition:
            changes, waiting = self._changes, self._waiting
            self._waiting, began = [], time.monotonic()
        keep(self._place, self._lease.epoch, self._folder, KEPT_OFTEN)
        # Checkpoints that this driver no longer needs may be all that its successor has.
        refuse_deposed(self._place, self._lease)
        for then in waiting:
            then()
        with self._condition:
            self._arrived = changes
            self._behind_since = began if self._changes > changes else None
            self._condition.notify_all()

    def _beat(self, *, ended: bool = False) -> None:
        behind = 0.0 if self._behind_since is None else time.monotonic() - self._behind_since
        self._lease = self._lease.beat(behind, ended=ended)
        self._place.write(self._lease.name, self._lease.encode())
