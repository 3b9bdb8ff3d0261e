"""A real S3 server of one's own on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUCKET = "runs"


class S3Server:
    """Serves until the block ends. It is a process, so it can be stopped and gone on with."""

    def __init__(self, process: "subprocess.Popen[bytes]", host: str, port: int) -> None:
        self._process = process
        self.url = f"http://{host}:{port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that uses it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def s3_server(folder: Path, *, strict: bool = False) -> Iterator[S3Server]:
    """With the bucket BUCKET in it. folder: for its log. strict: whether it then refuses unknown credentials."""
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)],
            env=os.environ | ({"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if strict else {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = S3Server(process, "127.0.0.1", port)
    try:
        _wait_until_it_serves(port, process)
        client(server).create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()


def client(server: S3Server):
    """To look into the buckets by another way than ours."""
    import boto3

    return boto3.session.Session().client(
        "s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def _wait_until_it_serves(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the S3 server has ended"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    raise TimeoutError("the S3 server does not come up")
