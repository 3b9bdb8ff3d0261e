"""Ends a process as Ctrl-C would."""

import os
import signal
from pathlib import Path


def interrupt(process: int) -> None:
    """By Ctrl-C's own signal, after which a notebook's kernel lives on. Background jobs of a script are deaf to that:
    they get SIGTERM, to which `hybridtune` answers in the same way.
    """
    os.kill(process, signal.SIGTERM if _is_deaf(process) else signal.SIGINT)


def _is_deaf(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        # A system that does not say, or a process that has ended.
        return False
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(ignored & 1 << (signal.SIGINT - 1))
