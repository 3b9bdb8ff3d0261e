"""The head of a cluster that is gone for good ends its driver with a line; one that is back in time does not."""

import socket
import subprocess
import sys
import time
from contextlib import suppress

WATCH = """
import sys, time
from hybridtune.search.cluster.head_watch import watching_head

def leave(why):
    print(f"kept: {why}", flush=True)
    return f"{why}: once it is back, go on"

with watching_head(sys.argv[1], leave):
    print("watching", flush=True)
    time.sleep(float(sys.argv[2]))
print("done")
"""


def watch(port: int, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WATCH, f"127.0.0.1:{port}", str(seconds)],
        env={"RAY_gcs_rpc_server_reconnect_timeout_s": "3.6"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_a_head_that_is_gone_ends_the_process_before_ray_would() -> None:
    with listening() as head:
        port = head.getsockname()[1]
        process = watch(port, 60)
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
    began = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert 2 < time.monotonic() - began < 8
    assert process.returncode == 1
    assert out == f"kept: the head of the Ray cluster at 127.0.0.1:{port} has been gone for 3 seconds\n"
    assert err == (
        f"hybridtune: the head of the Ray cluster at 127.0.0.1:{port} has been gone for 3 seconds: "
        "once it is back, go on\n"
    )


def test_a_head_that_is_back_in_time_is_waited_for() -> None:
    with listening() as head:
        port = head.getsockname()[1]
        process = watch(port, 7)
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
    time.sleep(1.5)
    with listening(port) as head:
        head.settimeout(1)
        while process.poll() is None:
            with suppress(TimeoutError):
                head.accept()[0].close()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "done\n", "")
