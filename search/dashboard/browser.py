"""The viewer's own browser."""

import os
import socket
import sys
import webbrowser
from collections.abc import Mapping
from threading import Thread

from hybridtune.search.run.say import Say


def open_browser(address: str, port: int, say: Say) -> None:
    """Says how to see the address where no browser can be opened, as on a host that one has logged in to."""
    if not _has_display(os.environ):
        say(
            "no display here to open it on: open that address on your own machine, with "
            f"`ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}` under way there"
        )
        return

    def show() -> None:
        if not webbrowser.open(address):
            say("no browser was found: open that address in one")

    # Some do not return before they are closed.
    Thread(target=show, daemon=True).start()


def _has_display(environment: Mapping[str, str]) -> bool:
    """On Linux, a browser of the terminal would be taken else, and cover what is said there."""
    return sys.platform != "linux" or not environment.keys().isdisjoint(("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
