"""A Ray cluster that runs already: found, joined, and left."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hybridtune.data.schema import InputError
from hybridtune.search.cluster.local_ray import (
    UNWINDING,
    UNWINDING_SECONDS,
    own_signals,
    read_authentication,
    refuse_ray_in_use,
)
from hybridtune.search.cluster.token import TOKEN_REMEDY, refuse_open_token_file

ANSWER_SECONDS = 5.0
"""How long a cluster may take to answer at all."""
HEALTH_SECONDS = 8.0
"""How long its own health check may take; what listens there may be no Ray, and says nothing then."""
NO_TOKEN = ("no authentication token was found", "authentication_token_loader")
"""Words of Ray's: of its Python half, and of the other, which ends the process with a stack."""


@contextmanager
def joined_ray(address: str) -> Iterator[str]:
    """The cluster at `address`, HOST:PORT or auto; left as it was with the block. This process must run on one of its
    hosts. Gives the head's HOST:PORT.

    Raises InputError within 15 seconds if no Ray answers there, if it is of another version, or if it wants a token
    that this process does not have; also if this process uses Ray already.
    """
    import ray

    refuse_ray_in_use()
    refuse_open_token_file()
    found = _found(address)
    _refuse_silent(found)
    _refuse_unhealthy(found)
    read_authentication()
    try:
        _join(found)
        yield found
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    import ray

    from hybridtune.models.device import worker_environment

    try:
        with own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": worker_environment() | {UNWINDING: UNWINDING_SECONDS}},
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _cannot_be_joined(address, str(error)) from None


def _found(address: str) -> str:
    """HOST:PORT."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or "://" in host or not port.isdecimal():
            raise InputError(f"a Ray cluster is named as HOST:PORT or auto, got {address!r}")
        return address
    from ray._private.services import canonicalize_bootstrap_address

    with suppress(ConnectionError, ValueError, OSError):
        if found := canonicalize_bootstrap_address("auto"):
            return str(found)
    raise InputError("no Ray cluster runs on this host: start one (`ray start --head`), or name another's HOST:PORT")


def _refuse_silent(address: str) -> None:
    """Ray tries for minutes, and talks of it, where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(
            f"no Ray cluster answers at {address!r} ({error}): start one there, or leave --address out for this machine"
        ) from None


def _refuse_unhealthy(address: str) -> None:
    """By Ray's own check, in a process of its own: in this one it would try for 20 seconds, print what it tries, and
    say at the end only that it failed.
    """
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        found = subprocess.run(check, capture_output=True, text=True, timeout=HEALTH_SECONDS, check=False)  # noqa: S603 ours
    except subprocess.TimeoutExpired:
        raise InputError(
            f"what listens at {address!r} does not answer as a Ray cluster does: "
            "name the port of its head, 6379 if nothing else was chosen"
        ) from None
    if found.returncode != 0:
        raise _cannot_be_joined(address, found.stdout + found.stderr)


def _cannot_be_joined(address: str, said: str) -> InputError:
    """said: by Ray, with whatever else it printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it did not say why"]
    if any(words in said for words in NO_TOKEN):
        return InputError(f"the Ray cluster at {address!r} wants a token, and none is here: {TOKEN_REMEDY}")
    if "InvalidAuthToken" in said:
        return InputError(
            f"the Ray cluster at {address!r} refuses this process's token, or the lack of one: {TOKEN_REMEDY}"
        )
    mismatch = next((line for line in lines if "mismatch" in line.lower()), None)
    if mismatch is not None:
        return InputError(f"{mismatch}: install the cluster's version of Ray here")
    if "cannot find" in said and "aylet" in said:
        return InputError(f"this host is none of the Ray cluster at {address!r}: run the search on its head")
    return InputError(f"the Ray cluster at {address!r} cannot be joined: {lines[-1]}")
