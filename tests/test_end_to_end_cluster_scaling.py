"""A search on a cluster that has no workers: Ray's autoscaler starts them, and ends them when they are idle."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import HYBRIDTUNE, SMALL_SPACE, Workplace

from benchmarks.hosts import HEAD, PORT, Hosts, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

LAUNCH = (
    *("launch", "dataset", "--space", "space.yaml", "--trials", "4", "--iterations", "3", "--scheduler", "none"),
    *("--samples-per-iteration", "4096", "--top-k", "1", "--seeds", "1", "--device", "cpu"),
    *("--address", f"{HEAD}:{PORT}"),
)


@pytest.fixture(scope="module")
def hosts(finished: Workplace) -> Iterator[Hosts]:
    with Hosts() as hosts:
        hosts.start_autoscaling_head({"CPU": 1, "GPU": 1}, most=2, idle_minutes=0.2)
        shutil.copytree(finished.path / "dataset", hosts.folder / "dataset")
        (hosts.folder / "space.yaml").write_text(SMALL_SPACE)
        yield hosts


def launch(hosts: Hosts, run: str, gpus_per_trial: str) -> subprocess.CompletedProcess[str]:
    return hosts.run("head", [HYBRIDTUNE, *LAUNCH, "--run", run, "--gpus-per-trial", gpus_per_trial])


def test_the_search_grows_a_cluster_from_no_worker_to_two_and_leaves_none(hosts: Hosts) -> None:
    assert hosts.nodes() == 1
    done = launch(hosts, "run", gpus_per_trial="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("its autoscaler is asked for one") == 1
    assert "1 at a time; rungs" in done.stdout
    (joined,) = re.findall(r"host .* has joined: (\d) more at a time", done.stdout)
    assert joined == "1"
    until = time.monotonic() + 60
    while hosts.nodes() > 1:
        assert time.monotonic() < until
        time.sleep(1)


def test_a_trial_that_no_host_of_the_autoscaler_fits_is_refused(hosts: Hosts) -> None:
    done = launch(hosts, "never", gpus_per_trial="2")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no host of the cluster has a CPU and 2 GPUs for a trial" in done.stderr
    assert not (hosts.folder / "never").exists()
