"""Hosts of a Ray cluster on this machine: network namespaces with addresses of their own, joined by a switch. A process
in one reaches the others only through its link, which can be cut. All of them see one disk, but for what a host mounts
over it.

Nothing here touches the machine's own network: the switch is a namespace too.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

RAY = Path(sys.executable).with_name("ray")
MOTO = Path(sys.executable).with_name("moto_server")
HEAD, PORT = "10.99.0.1", 6379
S3, S3_PORT = "10.99.0.9", 9000
OBJECT_STORE_BYTES = 150_000_000
RUNS = "Ray runtime started."
"""What `ray start` says once its node is known to the head."""
START_SECONDS = 60


def why_not() -> str | None:
    """Why hosts cannot be made here; None if they can."""
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is missing"
    name = f"ht-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces are forbidden: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """A switch and the hosts at it; all of it, with every process, ends with the block."""

    def __init__(self, token: str = "0123456789abcdef0123456789abcdef") -> None:
        self._prefix = f"ht{secrets.token_hex(3)}"
        self._names: list[str] = []
        self.token = token
        # Short: Ray's sockets lie below it.
        self.folder = Path(tempfile.mkdtemp(prefix="htc-", dir="/tmp"))

    def __enter__(self) -> Self:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        return self

    def __exit__(self, *failure: object) -> None:
        for name in self._names:
            self.kill_all(name)
            _ip("netns", "del", self._space(name))
        _ip("netns", "del", self._switch)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, name: str, number: int) -> None:
        """A host with address 10.99.0.`number` and a home of its own."""
        space = self._space(name)
        _ip("netns", "add", space)
        self._names.append(name)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("link", "add", "e0", "netns", space, "type", "veth", "peer", "name", f"p-{name}", "netns", self._switch)
        _ip("-n", self._switch, "link", "set", f"p-{name}", "master", "br0", "up")
        _ip("-n", space, "addr", "add", f"10.99.0.{number}/24", "dev", "e0")
        _ip("-n", space, "link", "set", "e0", "up")
        (self.folder / name).mkdir(exist_ok=True)

    def environment(self, name: str, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Of a process on the host. changes: None takes a variable away."""
        values: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / name),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            **(changes or {}),
        }
        return {key: value for key, value in values.items() if value is not None}

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str | None] | None = None,
        before: str = "",
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """A process on the host, its output in `log(name)`. before: shell commands that prepare it, mounts say."""
        shell = ["sh", "-c", f'{before}\nexec "$@"', "sh"] if before else []
        with self.log(name).open("a") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._space(name), *shell, *command],
                env=self.environment(name, environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                cwd=cwd or self.folder,
            )

    def run(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str | None] | None = None,
        timeout: float = 300,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self._space(name), *command],
            env=self.environment(name, environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=cwd or self.folder,
        )

    def start_head(self, *arguments: str, changes: Mapping[str, str] | None = None) -> None:
        """Ray's head on host `head`, which runs no trials; a new one where it was killed.

        changes: of its environment.
        """
        if "head" not in self._names:
            self.add("head", 1)
        # A killed head leaves its address here; Ray takes the head of other such hosts, which has the same one, for it.
        (self._temporary("head") / "ray_current_cluster").unlink(missing_ok=True)
        self._start_ray(
            "head",
            ["--head", f"--port={PORT}", f"--node-ip-address={HEAD}", "--num-cpus=0", *arguments],
            changes=changes,
        )

    def start_autoscaling_head(self, worker: Mapping[str, int], most: int, idle_minutes: float) -> None:
        """A head whose autoscaler starts up to `most` workers, and ends each that was idle for so long.

        They are real nodes of Ray, started by its provider for tests on the head's own host. worker: its resources.
        """
        no_commands = (
            *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
            *("head_start_ray_commands", "worker_start_ray_commands"),
        )
        cluster = {
            "cluster_name": "fake",
            "max_workers": most,
            "idle_timeout_minutes": idle_minutes,
            "provider": {
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "gcs_address": f"{HEAD}:{PORT}",
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
            },
            "auth": {},
            "head_node_type": FAKE_HEAD_NODE_TYPE,
            "available_node_types": {
                FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "worker": {
                    "resources": dict(worker) | {"object_store_memory": OBJECT_STORE_BYTES},
                    "node_config": {},
                    "max_workers": most,
                },
            },
            "file_mounts": {},
            "cluster_synced_files": [],
        } | {name: [] for name in no_commands}
        config = self.folder / "autoscaling.json"
        config.write_text(json.dumps(cluster))
        self.start_head(
            f"--autoscaling-config={config}",
            changes={
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_FAKE_CLUSTER": "1",
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            },
        )

    def start_s3_server(self, bucket: str) -> dict[str, str]:
        """On host `s3`, with an empty bucket; returns the environment of those that use it."""
        self.add("s3", 9)
        self.start("s3", [str(MOTO), "-H", S3, "-p", str(S3_PORT)])
        using = {
            "AWS_ENDPOINT_URL": f"http://{S3}:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        script = f"import boto3; boto3.client('s3').create_bucket(Bucket={bucket!r})"
        until = time.monotonic() + 60
        while (made := self.run("s3", [sys.executable, "-c", script], using)).returncode != 0:
            assert time.monotonic() < until, made.stderr + self.log("s3").read_text()
        return using

    def start_worker(
        self,
        number: int,
        *arguments: str,
        before: str = "",
        wait: bool = True,
        changes: Mapping[str, str] | None = None,
    ) -> str:
        """A worker on host w`number`, whose address is 10.99.0.1`number`; returns the host's name.

        changes: of its environment.
        """
        name = f"w{number}"
        if name not in self._names:
            self.add(name, 10 + number)
        address = [f"--address={HEAD}:{PORT}", f"--node-ip-address=10.99.0.{10 + number}"]
        self._start_ray(name, [*address, *(arguments or ["--num-cpus=1"])], before, changes, wait)
        return name

    def end_worker(self, number: int) -> None:
        """As its owner would; the head hears of it at once."""
        raylets = [pid for pid in self.pids(f"w{number}") if "raylet/raylet" in command_line(pid)]
        for pid in raylets:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 20
        while set(raylets) & set(self.pids(f"w{number}")) and time.monotonic() < until:
            time.sleep(0.1)
        # `ray start --block` stays for a while.
        self.kill_all(f"w{number}")

    def kill_all(self, name: str) -> None:
        """The host is lost: every process on it is killed."""
        while pids := self.pids(name):
            subprocess.run(["kill", "-9", *map(str, pids)], check=False, capture_output=True)
            time.sleep(0.1)

    def pids(self, name: str) -> list[int]:
        found = subprocess.run(
            ["ip", "netns", "pids", self._space(name)], capture_output=True, text=True, check=True
        ).stdout
        return [int(pid) for pid in found.split() if not _is_zombie(int(pid))]

    def cut(self, name: str) -> None:
        _ip("-n", self._switch, "link", "set", f"p-{name}", "down")

    def mend(self, name: str) -> None:
        _ip("-n", self._switch, "link", "set", f"p-{name}", "up")

    def wait_for_line(self, name: str, words: str, process: "subprocess.Popen[str]", seconds: float = 240) -> None:
        """Until the host's log has what the pattern `words` matches. Fails if the process ends before that."""
        until = time.monotonic() + seconds
        while not re.search(words, self.log(name).read_text()):
            assert process.poll() is None, self.log(name).read_text()
            assert time.monotonic() < until, self.log(name).read_text()
            time.sleep(0.05)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _start_ray(
        self,
        name: str,
        arguments: Sequence[str],
        before: str = "",
        changes: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        """wait: until the head knows the node, which is when Ray says that it runs."""
        said = self._times_said(name, RUNS)
        always = [f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={self._temporary(name)}", "--block"]
        dashboard = ["--include-dashboard=false"] if "--head" in arguments and "--dashboard" not in arguments else []
        given = [argument for argument in arguments if argument != "--dashboard"]
        started = self.start(name, [str(RAY), "start", *given, *dashboard, *always], changes, before)
        until = time.monotonic() + START_SECONDS
        while wait and self._times_said(name, RUNS) == said:
            if started.poll() is not None or time.monotonic() > until:
                raise TimeoutError(f"Ray has not come up on {name}:\n{self.log(name).read_text()[-2000:]}")
            time.sleep(0.1)

    def _times_said(self, name: str, words: str) -> int:
        return self.log(name).read_text().count(words) if self.log(name).exists() else 0

    def nodes(self) -> int:
        """How many are alive, as the head counts them."""
        script = f"""
import ray
ray.init(address="{HEAD}:{PORT}", log_to_driver=False, logging_level="ERROR")
print("alive:", sum(node["Alive"] for node in ray.nodes()))
"""
        try:
            found = self.run("head", [sys.executable, "-c", script], timeout=30)
        except subprocess.TimeoutExpired:
            return 0
        # Ray prints its own lines there too.
        alive = re.search(r"^alive: (\d+)$", found.stdout, re.MULTILINE)
        return int(alive[1]) if alive else 0

    @property
    def _switch(self) -> str:
        return f"{self._prefix}-sw"

    def _temporary(self, name: str) -> Path:
        return self.folder / f"r{name}"

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def command_line(pid: int) -> str:
    """Empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
