"""A search on hosts that share nothing but a bucket; see benchmarks/hosts.py."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import BASIC_SPACE, HYBRIDTUNE, Workplace

from benchmarks.hosts import HEAD, PORT, Hosts, why_not
from hybridtune.search.run.lease import SILENT_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

ADDRESS = ("--address", f"{HEAD}:{PORT}")
RUN = "s3://runs/team/run"
LAUNCH = (
    *("--space", "basic.yaml", "--trials", "6", "--iterations", "4", "--samples-per-iteration", "4096"),
    *("--scheduler", "none", "--sampler", "random", "--top-k", "1", "--seeds", "1"),
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def bucket(hosts: Hosts) -> dict[str, str]:
    """The environment of those that may use it."""
    return hosts.start_s3_server("runs")


def start_cluster(hosts: Hosts, bucket: dict[str, str]) -> Path:
    """A head and two workers that see nothing of each other's disks; returns the folder where the head works."""
    home = hosts.folder / "head"
    home.mkdir(exist_ok=True)
    hosts.start_head()
    for number in (1, 2):
        hosts.start_worker(number, before=f"mount -t tmpfs none {home}", changes=bucket)
    return home


def curves(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / "curves.parquet").drop(columns="seconds")


def test_a_search_outlives_its_head_and_all_disks(
    hosts: Hosts, bucket: dict[str, str], finished: Workplace, tmp_path: Path
) -> None:
    undisturbed = Workplace(tmp_path / "undisturbed")
    undisturbed.path.mkdir()
    (undisturbed.path / "basic.yaml").write_text(BASIC_SPACE)
    undisturbed.search(str(finished.path / "dataset"), "--run", "run", *LAUNCH)

    home = start_cluster(hosts, bucket)
    shutil.copytree(finished.path / "dataset", home / "dataset")
    (home / "basic.yaml").write_text(BASIC_SPACE)
    began = time.monotonic()
    launched = hosts.start("head", [HYBRIDTUNE, "launch", "dataset", "--run", RUN, *LAUNCH, *ADDRESS], bucket, cwd=home)
    hosts.wait_for_line("head", r"trial \d starts", launched)
    launch_seconds = time.monotonic() - began
    hosts.wait_for_line("head", r"trial 1 complete", launched)
    hosts.wait_for_line("head", r"trial 3 starts", launched)
    told = set(re.findall(r"(trial \d) complete", hosts.log("head").read_text()))
    for name in ("head", "w1", "w2"):
        hosts.kill_all(name)
    launched.wait()
    shutil.rmtree(home)

    home = start_cluster(hosts, bucket)
    hosts.log("head").write_text("")
    began = time.monotonic()
    resumed = hosts.start("head", [HYBRIDTUNE, "resume", RUN, *ADDRESS], bucket, cwd=home)
    hosts.wait_for_line("head", r"trial \d starts", resumed)
    # In seconds only benchmarks/head_lost says it: this machine has other tests to run.
    assert time.monotonic() - began < SILENT_SECONDS + 2 * launch_seconds
    assert resumed.wait(300) == 0, hosts.log("head").read_text()
    again = set(re.findall(r"(trial \d) starts", hosts.log("head").read_text()))
    assert not again & told
    (driven,) = (home / ".hybridtune" / "runs").glob("*/driven")
    trials = pd.read_parquet(driven / "trials.parquet")
    assert trials["trial"].tolist() == list(range(6))
    assert set(trials["state"]) == {"complete"}
    assert set(trials["host"]) == {"10.99.0.11", "10.99.0.12"}
    pd.testing.assert_frame_equal(curves(driven), curves(undisturbed.path / "run"))

    # A host without credentials is named before anything is trained.
    hosts.start_worker(3)
    refused = hosts.run(
        "head", [HYBRIDTUNE, "launch", str(finished.path / "dataset"), "--run", "s3://runs/other", *ADDRESS], bucket
    )
    assert refused.returncode == 2
    assert "host 10.99.0.13" in refused.stderr
    assert "s3://runs/other needs credentials, and none are here" in refused.stderr
