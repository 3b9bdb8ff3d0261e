"""Looks whether the head of a joined cluster is still there. Without it nothing is scheduled, and after a minute Ray
ends this process, with words of its own.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

LOOK_SECONDS = 1.0
CONNECT_SECONDS = 2.0
RAY_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""How long Ray itself waits for its head: 60 seconds, if the environment says nothing else."""
SHARE = 5 / 6
"""Of that: before Ray does."""


@contextmanager
def watching_head(address: str, leave: Callable[[str], str]) -> Iterator[None]:
    """Ends this process with status 1 if the head, HOST:PORT, is gone for good while in the block.

    leave: called before that, in another thread, with what happened; returns the last line for people.
    """
    over = Event()
    Thread(target=_watch, args=(address, leave, over), name="head watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, leave: Callable[[str], str], over: Event) -> None:
    patience = float(os.environ.get(RAY_SECONDS, "60")) * SHARE
    seen = time.monotonic()
    while not over.wait(LOOK_SECONDS):
        if answers(address):
            seen = time.monotonic()
        elif time.monotonic() - seen > patience:
            line = f"the head of the Ray cluster at {address} has been gone for {patience:.0f} seconds"
            try:
                line = leave(line)
            finally:
                print(f"hybridtune: {line}", file=sys.stderr, flush=True)  # noqa: T201 nothing comes after it
                # The main thread waits for the head, in Ray, where no exception reaches it.
                os._exit(1)


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
