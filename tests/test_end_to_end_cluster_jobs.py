"""A search sent to a cluster by a host that is none of it, followed, left alone, found again and stopped; see
benchmarks/hosts.py.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BASIC_SPACE, HYBRIDTUNE, Workplace

from benchmarks.hosts import HEAD, PORT, S3, S3_PORT, Hosts, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

SERVER = f"http://{HEAD}:8265"
RUN = "s3://runs/team/run"
LAUNCH = (
    *("--space", "small.yaml", "--trials", "6", "--iterations", "24", "--samples-per-iteration", "4096"),
    *("--scheduler", "none", "--sampler", "random", "--top-k", "1", "--seeds", "1"),
)
AGAIN_SECONDS = 60
BROWSES = """
import http.cookiejar, json, re, sys, urllib.error, urllib.request
open_ = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())).open
open_(sys.argv[1])
origin = sys.argv[1].split("/?")[0]
def ask(path, method="GET"):
    try:
        return open_(urllib.request.Request(origin + path, method=method)).read().decode()
    except urllib.error.HTTPError as error:
        return error.code
print(json.dumps({
    "GET /ht/state.json": json.loads(ask("/ht/state.json"))["status"],
    "GET /ray/": re.search("<title>(.*?)</title>", ask("/ray/"))[1],
    "GET /ray/api/version": json.loads(ask("/ray/api/version"))["ray_version"],
    "POST /ray/api/jobs/": ask("/ray/api/jobs/", "POST"),
    "GET /ray/worker/traceback": ask("/ray/worker/traceback"),
}))
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def bucket(hosts: Hosts, finished: Workplace) -> dict[str, str]:
    """A cluster whose hosts see nothing of the client's disk; the environment of those that may use its bucket."""
    bucket = hosts.start_s3_server("runs")
    hosts.add("client", 100)
    start_cluster(hosts, bucket)
    (hosts.folder / "client" / "small.yaml").write_text(BASIC_SPACE)
    shutil.copytree(finished.path / "dataset", hosts.folder / "client" / "dataset")
    return bucket


def start_cluster(hosts: Hosts, bucket: dict[str, str]) -> None:
    # A job's command is found as its cluster's hosts find it.
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    hosts.start_head("--dashboard", "--dashboard-host=0.0.0.0", changes=bucket | path)
    hosts.start_worker(1, before=f"mount -t tmpfs none {hosts.folder / 'client'}", changes=bucket)


class Client:
    """`hybridtune` on the client's host."""

    def __init__(self, hosts: Hosts, bucket: dict[str, str]) -> None:
        self._hosts, self._bucket = hosts, bucket
        self.home = hosts.folder / "client"

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        self._hosts.log("client").write_text("")
        line = [HYBRIDTUNE, *arguments, "--address", SERVER]
        return self._hosts.start("client", line, self._bucket, cwd=self.home)

    def run(self, *arguments: str, **changes: str | None) -> "subprocess.CompletedProcess[str]":
        return self._hosts.run("client", [HYBRIDTUNE, *arguments], {**self._bucket, **changes}, cwd=self.home)

    def printed(self) -> str:
        return self._hosts.log("client").read_text()

    def wait_for(self, words: str, command: "subprocess.Popen[str]") -> None:
        self._hosts.wait_for_line("client", words, command)


@pytest.fixture
def client(hosts: Hosts, bucket: dict[str, str]) -> Client:
    return Client(hosts, bucket)


def test_a_search_outlives_who_sent_it_and_is_found_again(hosts: Hosts, client: Client) -> None:
    sent = client.start("launch", "dataset", "--run", RUN, *LAUNCH)
    client.wait_for(r"trial 0 starts", sent)
    again = client.run("launch", "dataset", "--run", RUN, *LAUNCH, "--address", SERVER)
    assert again.returncode == 2
    assert re.search(rf"ht-\w+-1 works on {RUN}: `hybridtune resume {RUN} --address {SERVER}` follows it", again.stderr)
    hosts.kill_all("client")
    sent.wait()

    followed = client.start("resume", RUN)
    client.wait_for(r"ht-\w+-1 works on .*: following it(?s:.)*trial 0 complete", followed)
    hosts.cut("client")
    client.wait_for(r"goes on there, and this tries again", followed)
    hosts.mend("client")
    client.wait_for(r"trial 3 starts", followed)
    assert re.findall(r"(trial \d) starts", client.printed()) == ["trial 0", "trial 1", "trial 2", "trial 3"]
    # Leaves it to itself.
    (driver,) = [pid for pid in hosts.pids("client") if b"resume" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(driver, signal.SIGINT)
    assert followed.wait(20) == 130
    assert f"goes on: `hybridtune resume {RUN} --address {SERVER}` follows it" in client.printed()

    stopped = client.run("stop", RUN, "--address", SERVER)
    assert stopped.returncode == 0, stopped.stderr
    assert "goes on" in stopped.stdout
    assert client.run("stop", RUN, "--address", SERVER).returncode == 2
    status = json.loads(client.run("status", RUN, "--json").stdout)
    assert status["driver"]["ended"]
    assert status["status"] == "searching"

    resumed = client.start("launch", "dataset", "--run", RUN, "--or-resume")
    assert resumed.wait(240) == 0, client.printed()
    assert "going on with it as it was set" in client.printed()
    there = client.run("status", RUN, "--json", "--address", SERVER)
    assert json.loads(there.stdout)["status"] == "done"
    assert json.loads(there.stdout)["trials"]["complete"] == 6
    assert client.run("export", RUN, "bundle").returncode == 0
    assert (client.home / "bundle" / "bundle.json").exists()

    # From the bucket, with the cluster's own pages behind it: the browser has a key for the one, and no token.
    shown = client.start("dashboard", RUN, "--no-browser")
    client.wait_for(r"dashboard: http", shown)
    address = client.printed().split("dashboard: ")[1].split()[0]
    seen = hosts.run("client", [sys.executable, "-c", BROWSES, address], {"RAY_AUTH_TOKEN": None})
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout) == {
        "GET /ht/state.json": "done",
        "GET /ray/": "Ray Dashboard",
        "GET /ray/api/version": "2.60.0",
        "POST /ray/api/jobs/": 405,
        "GET /ray/worker/traceback": 403,
    }
    hosts.kill_all("client")
    shown.wait()


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (["--address", SERVER], {"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": None}, "refuses this process's token"),
        (["--address", SERVER], {"RAY_AUTH_TOKEN": "f" * 32}, "refuses this process's token"),
        (["--address", f"http://{HEAD}:9"], {}, f"no job server answers at http://{HEAD}:9"),
        (["--address", "http://10.99.0.77:8265"], {}, "at http://10.99.0.77:8265"),
        (["--address", f"http://{S3}:{S3_PORT}"], {}, "is no job server of Ray"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(
    client: Client, arguments: list[str], changes: dict[str, str | None], words: str
) -> None:
    began = time.monotonic()
    refused = client.run("launch", "dataset", "--run", "s3://runs/refused", *arguments, **changes)
    assert time.monotonic() - began < 18
    assert refused.returncode == 2
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_what_the_job_refuses_is_said_where_it_was_asked(client: Client) -> None:
    refused = client.run("status", "s3://runs/none", "--address", SERVER)
    assert refused.returncode == 2
    assert refused.stderr == "hybridtune: s3://runs/none holds no run: `hybridtune launch` makes one\n"
    assert refused.stdout == ""


def test_a_driver_says_that_its_head_is_gone_and_a_new_head_goes_on(
    hosts: Hosts, bucket: dict[str, str], client: Client
) -> None:
    run = "s3://runs/team/headless"
    hosts.log("head").write_text("")
    line = [HYBRIDTUNE, "launch", str(client.home / "dataset"), "--run", run, *LAUNCH, "--address", f"{HEAD}:{PORT}"]
    # Ray itself would wait a minute; its workers still do.
    patience = {"RAY_gcs_rpc_server_reconnect_timeout_s": "18"}
    driver = hosts.start("head", line, bucket | patience, cwd=client.home)
    hosts.wait_for_line("head", r"trial 1 starts", driver)
    (gcs,) = [pid for pid in hosts.pids("head") if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(gcs, signal.SIGKILL)
    assert driver.wait(75) == 1
    last = hosts.log("head").read_text().splitlines()[-1]
    assert last == (
        f"hybridtune: the head of the Ray cluster at {HEAD}:6379 has been gone for 15 seconds: once it is back, "
        f"`hybridtune resume {run}` goes on"
    )
    status = json.loads(client.run("status", run, "--json").stdout)
    assert status["status"] == "searching"
    assert "has been gone" in status["error"]

    for name in ("head", "w1"):
        hosts.kill_all(name)
    start_cluster(hosts, bucket)
    began = time.monotonic()
    resumed = client.start("launch", "dataset", "--run", run, "--or-resume")
    client.wait_for(r"trial \d starts", resumed)
    assert time.monotonic() - began < AGAIN_SECONDS
    assert resumed.wait(240) == 0, client.printed()
    assert json.loads(client.run("status", run, "--json").stdout)["trials"]["complete"] == 6
