"""Whether a host's kernel has killed a process for want of memory: the worker itself cannot say so any more."""

from collections.abc import Callable, Mapping
from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def memory_kills() -> int:
    """How many processes of this machine the kernel has killed for want of memory; 0 where it does not say (it is
    Linux that does).
    """
    counters = VMSTAT.read_text(encoding="utf-8").split("\n") if VMSTAT.exists() else []
    return next((int(line.split()[1]) for line in counters if line.startswith("oom_kill ")), 0)


class MemoryWatch:
    """Remembers the counters of the hosts."""

    def __init__(self, read: Callable[[str | None], Mapping[str, int]]) -> None:
        """read: the address of a host, or None for all -> its counter, or theirs, by address; one that does not answer
        is left out.
        """
        self._read = read
        self._seen = dict(read(None))

    def begin(self, kills: Mapping[str, int]) -> None:
        """With hosts that have joined. kills: their counters by address."""
        self._seen |= kills

    def rose(self, host: str | None) -> bool:
        """Whether there were kills on the host, or on any if it is not known, since this was last asked."""
        now = self._read(host)
        rose = any(kills > self._seen.get(address, kills) for address, kills in now.items())
        self._seen |= now
        return rose
