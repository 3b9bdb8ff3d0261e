"""A run in a terminal: a real one (a pseudo-terminal), and what stands on its screen."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest
from conftest import HYBRIDTUNE, SMALL_LAUNCH, Workplace

pytestmark = pytest.mark.slow

COLUMNS, LINES = 80, 40


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, place: Workplace, *arguments: str) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, LINES, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        environment = place.environment | {"TERM": "xterm-256color"}
        self.process, self._file = pty.fork()
        if self.process == 0:
            os.chdir(place.path)
            os.execve(HYBRIDTUNE, [HYBRIDTUNE, *arguments], environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def wait_until(self, seen: Callable[[str], bool], seconds: float = 120) -> str:
        """The screen on which it is."""
        until = time.monotonic() + seconds
        while not seen(self.screen()):
            assert time.monotonic() < until, self.screen()
            assert self._read(), self.screen()
        return self.screen()

    def wait(self) -> int:
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def screen(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def everything(self) -> str:
        """With what was scrolled away."""
        before = ["".join(line[column].data for column in range(COLUMNS)) for line in self._screen.history.top]
        return "\n".join([*before, self.screen()])

    def _read(self) -> bool:
        ready, _, _ = select.select([self._file], [], [], 1.0)
        try:
            content = os.read(self._file, 65536) if ready else None
        except OSError:
            return False
        if content:
            self._stream.feed(content)
        return content != b""


def test_a_search_is_one_view_that_gives_way_to_the_result(finished: Workplace) -> None:
    terminal = Terminal(finished, "launch", "dataset", "--run", "seen", *SMALL_LAUNCH, "--trials", "8")
    try:
        screen = terminal.wait_until(lambda text: "rung" in text and "best 0." in text)
        assert "of 8 trials: " in screen
        assert "searching" in screen
        terminal.wait_until(lambda text: "retraining" in text and " members" in text)
        assert terminal.wait() == 0
        everything = terminal.everything()
        # The view is gone; what was said in it is in the log.
        assert "of 8 trials: " not in everything
        assert "trial 0 starts" not in everything
        assert "next: hybridtune export" in everything
        log = (finished.path / "seen" / "log.txt").read_text()
        assert "trial 0 starts" in log
        assert re.search(r"retraining: (\d) of \1 members", log)
    finally:
        shutil.rmtree(finished.path / "seen", ignore_errors=True)


def test_ctrl_c_leaves_the_terminal_as_it_was(finished: Workplace) -> None:
    terminal = Terminal(finished, "launch", "dataset", "--run", "seen", *SMALL_LAUNCH, "--trials", "40")
    try:
        terminal.wait_until(lambda text: "of 40 trials: complete" in text)
        os.kill(terminal.process, signal.SIGINT)
        assert terminal.wait() == 130
        assert "of 40 trials" not in terminal.screen()
        assert "interrupted: `hybridtune resume RUN` goes on with a run" in terminal.screen().replace("\n", "")
        # Rich hides the cursor while a view is up.
        assert not terminal._screen.cursor.hidden
    finally:
        shutil.rmtree(finished.path / "seen", ignore_errors=True)


def test_quiet_is_plain_lines_and_the_browser_is_another_process_that_ends_with_it(finished: Workplace) -> None:
    arguments = ("launch", "dataset", "--run", "seen", *SMALL_LAUNCH, "--quiet", "--dashboard")
    terminal = Terminal(finished, *arguments)
    try:
        terminal.wait_until(lambda text: "trial 0 starts" in text)
        assert terminal.wait() == 0
        everything = terminal.everything()
        assert "dashboard: http://127.0.0.1:" in everything
        assert "of 4 trials: " not in everything
        left = [line for line in running_commands() if "dashboard" in line and str(finished.path / "seen") in line]
        assert left == []
    finally:
        shutil.rmtree(finished.path / "seen", ignore_errors=True)


def running_commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
