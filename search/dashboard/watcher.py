"""Looks at a run again and again: as often for many viewers as for one, and not at all while nobody watches."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import optuna

from hybridtune.data.schema import InputError
from hybridtune.search.dashboard.overview import Known, Overview, overview
from hybridtune.search.dashboard.trial_page import TrialShown, trial_shown
from hybridtune.search.run import copies
from hybridtune.search.run.opening import open_run
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.stop import is_driven
from hybridtune.search.study.backup import check_study, has_study
from hybridtune.search.study.reading import StudyView
from hybridtune.search.study.study import STUDY_NAME, WAIT_SECONDS, started, viewed

FileIdentity = tuple[int, int]
"""Device and number."""

BUSY = (OSError, sqlite3.Error)
"""What a look may raise while somebody writes."""
PASSING = (InputError, *BUSY)
"""What does not end the watching: a file that is just being replaced is damaged for a moment."""

LOOK_SECONDS = 0.5
TROUBLE_SECONDS = 10.0
"""Looks that fail for so long are no matter of a moment any more."""
FETCH_SECONDS = 10.0
"""Between two looks at a run that has to be fetched."""


class Look:
    """The run as it is now. Reads only what has changed since the last call."""

    def __init__(
        self,
        run: RunDir,
        fetch: Callable[[], RunDir] | None = None,
        is_driven: Callable[[RunDir], bool] = is_driven,
    ) -> None:
        """fetch: brings what is seen of a run that is kept elsewhere up to date."""
        self.run = run
        self._fetch = fetch
        self._is_driven = is_driven
        self._view: StudyView | None = None
        self._study: optuna.Study | None = None
        self._study_file: FileIdentity | None = None
        self._seen: Any = None
        self._found: Overview | None = None
        self._known = Known()
        self._one_at_a_time = Lock()

    @classmethod
    def at(cls, name: str) -> Self:
        """Raises InputError if there is no such run."""
        run = open_run(name)
        return cls(run, partial(open_run, name) if run.kept_in is not None else None)

    @classmethod
    def at_own(cls, run: RunDir) -> Self:
        """A run on which this process works."""
        return cls(run, is_driven=lambda run: True)

    @property
    def seconds(self) -> float:
        """Between two looks."""
        return LOOK_SECONDS if self._fetch is None else FETCH_SECONDS

    def __call__(self) -> Overview:
        with self._one_at_a_time:
            return self._look()

    def in_trouble(self, error: Exception) -> Overview | None:
        """What was seen last, with what the run's document says now, or else with why nothing is seen any more."""
        if self._found is None:
            return None
        changes: dict[str, Any] = {"error": str(error), "driven": False, "time_left": None}
        with suppress(*PASSING):
            document = self.run.document()
            changes |= {"status": document.status, "error": document.error or str(error)}
            changes["driven"] = self._is_driven(self.run)
        return self._found.model_copy(update=changes)

    def trial(self, number: int) -> TrialShown | None:
        """None if there is no such trial."""
        with self._one_at_a_time:
            self._look()
            return None if self._study is None else trial_shown(self.run, started(self._study), number)

    def _look(self) -> Overview:
        if self._fetch is not None and self._found is not None:
            self.run = self._fetch()
        driven = self._is_driven(self.run)
        seen = (*_state(self.run), driven)
        if seen != self._seen or self._found is None:
            try:
                self._found = overview(self.run, self._open_study(driven=driven), self._known, driven=driven)
            except sqlite3.OperationalError:
                # Somebody writes for long, or was killed in the middle of a write.
                if self._found is None:
                    raise
                return self._found
            self._seen = seen
        return self._found

    def _open_study(self, *, driven: bool) -> optuna.Study | None:
        file = identity(self.run.study)
        if file is None:
            return None
        if self._view is not None and file == self._study_file:
            self._view.catch_up()
            return self._study
        if not driven:
            check_study(self.run)
        if not has_study(self.run):
            return None
        # Another file may hold another past: a copy that was put back.
        self._view, self._known = StudyView(self.run.study, STUDY_NAME, WAIT_SECONDS), Known()
        self._study, self._study_file = viewed(self._view), file
        return self._study


def _state(run: RunDir) -> tuple[Any, ...]:
    """What differs when anything that is shown does."""
    paths = (run.study, run.curve_log, run.report, run.chosen_members, run.path / copies.RUN, run.path / "members")
    return tuple(map(_content, paths))


def _content(path: Path) -> tuple[FileIdentity, int, int] | None:
    """What differs when what is in the file, or folder, does; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino), found.st_mtime_ns, found.st_size


def identity(path: Path) -> FileIdentity | None:
    """What differs when another file is put into its place; None where there is none."""
    found = _content(path)
    return found[0] if found else None


class Watcher:
    """Hands what is seen of a run to everybody who watches."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._latest: Overview | None = None
        self._changed = asyncio.Condition()
        self._viewers = 0
        self._looking: asyncio.Task[None] | None = None

    async def now(self) -> Overview:
        return await asyncio.to_thread(self._look)

    async def changes(self) -> AsyncIterator[Overview]:
        """What there is now, then each time it is something else."""
        self._viewers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            shown = await self.now()
            yield shown
            while True:
                async with self._changed:
                    await self._changed.wait_for(partial(self._is_new, shown))
                    assert self._latest is not None
                    shown = self._latest
                yield shown
        finally:
            self._viewers -= 1
            if self._viewers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def _is_new(self, shown: Overview) -> bool:
        return self._latest not in (None, shown)

    async def _keep_looking(self) -> None:
        good = time.monotonic()
        while True:
            found = None
            try:
                found = await self.now()
                good = time.monotonic()
            except PASSING as error:
                # What is wrong for a moment is read in the next.
                if time.monotonic() - good > TROUBLE_SECONDS:
                    found = await asyncio.to_thread(self._look.in_trouble, error)
            if found is not None and found != self._latest:
                async with self._changed:
                    self._latest = found
                    self._changed.notify_all()
            await asyncio.sleep(self._look.seconds)
