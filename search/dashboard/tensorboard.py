"""TensorBoard on a run's events, as a process that is there once somebody has asked for it."""

import asyncio
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from starlette.exceptions import HTTPException

PREFIX, FONTS = "/tensorboard", "/font-roboto"
RELOAD_SECONDS = 5
ADDRESS = re.compile(r"TensorBoard \S+ at http://[^:]+:(\d+)")
LAST_LINES = 5


class TensorBoard:
    """folder: with a folder of event files for each trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._base = ""
        self._one_at_a_time = asyncio.Lock()

    async def base(self) -> str:
        """Where its pages are. Raises HTTPException, in words for people, if it does not start."""
        async with self._one_at_a_time:
            if self._process is None or self._process.poll() is not None:
                self._base = await asyncio.to_thread(self._start)
        return self._base

    async def fonts(self) -> str:
        """Its pages ask for them without their prefix."""
        return f"{await self.base()}{FONTS}"

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _start(self) -> str:
        if find_spec("tensorboard") is None:
            raise HTTPException(404, "TensorBoard is not installed: pip install 'hybridtune[dashboard]'")
        if not self._folder.is_dir():
            raise HTTPException(
                404, "no curves here: they stay on the host that works on the run, open its dashboard there"
            )
        self._process = subprocess.Popen(  # noqa: S603 our own module
            [
                *(sys.executable, "-m", "hybridtune.search.dashboard.tensorboard_process"),
                *("--logdir", str(self._folder), "--path_prefix", PREFIX, "--host", "127.0.0.1", "--port", "0"),
                # A trial that was resumed has several files. The faster loader would follow the last alone.
                *("--reload_multifile", "true", "--load_fast", "false", "--reload_interval", str(RELOAD_SECONDS)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C ends it through the dashboard.
            start_new_session=True,
        )
        started: Future[str] = Future()
        Thread(target=_listen, args=(self._process.stderr, started), daemon=True).start()
        try:
            return started.result()
        except HTTPException:
            # It has closed its output; the next to ask finds it ended, and starts another.
            self.end()
            raise


def _listen(printed: Iterable[str], started: "Future[str]") -> None:
    """Reads all that it prints: it would stand still when nobody did."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    for line in printed:
        last.append(line.strip())
        if not started.done() and (found := ADDRESS.search(line)):
            started.set_result(f"http://127.0.0.1:{found[1]}{PREFIX}")
    if not started.done():
        started.set_exception(HTTPException(502, f"TensorBoard did not start: {' '.join(last)}"))
