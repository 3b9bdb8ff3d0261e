"""What machine this is, and what its processes hold in memory, from Linux's own accounts."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def descendants(pid: int) -> list[int]:
    """The process and all processes below it."""
    found = [pid]
    for parent in found:
        try:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue  # it ended meanwhile
    return found


def rollup_kb(pid: int, *names: str) -> int:
    """Sum of some fields of smaps_rollup, for example Pss: its private pages and its share of the shared ones."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it ended meanwhile
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


class PeakOfTree:
    """While it is entered: the largest sum of Pss over this process and its children, looked at twice a second."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            total = sum(rollup_kb(pid, "Pss") for pid in descendants(os.getpid()))
            self.peak_mb = max(self.peak_mb, total / 1024)
