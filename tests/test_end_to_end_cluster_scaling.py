"""A search on a cluster that has no workers: Ray's autoscaler starts them, and ends them when they are idle."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import BASIC_SPACE, HYBRIDTUNE, Workplace

from benchmarks.hosts import HEAD, PORT, Hosts, why_not
from hybridtune.search.run.run_dir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

LAUNCH = (
    *("launch", "dataset", "--space", "space.yaml", "--trials", "4", "--iterations", "3", "--scheduler", "none"),
    *("--samples-per-iteration", "4096", "--top-k", "1", "--seeds", "1", "--device", "cpu"),
    *("--address", f"{HEAD}:{PORT}"),
)


@pytest.fixture
def hosts(request: pytest.FixtureRequest, finished: Workplace) -> Iterator[Hosts]:
    """A head whose autoscaler starts hosts of the resources that the test names."""
    with Hosts() as hosts:
        hosts.start_autoscaling_head(request.param, most=2, idle_minutes=0.2)
        shutil.copytree(finished.path / "dataset", hosts.folder / "dataset")
        (hosts.folder / "space.yaml").write_text(BASIC_SPACE)
        yield hosts


def launch(hosts: Hosts, run: str, gpus_per_trial: str) -> subprocess.CompletedProcess[str]:
    return hosts.run("head", [HYBRIDTUNE, *LAUNCH, "--run", run, "--gpus-per-trial", gpus_per_trial])


@pytest.mark.parametrize("hosts", [{"CPU": 2, "GPU": 1}], indirect=True)
def test_the_search_grows_a_cluster_from_no_worker_to_two_and_leaves_none(hosts: Hosts) -> None:
    assert hosts.nodes() == 1
    done = launch(hosts, "run", gpus_per_trial="auto")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("its autoscaler is asked for one") == 1
    rates = [float(rate) for rate in re.findall(r"trials? on a GPU trains? (\d+) samples a second", done.stdout)]
    assert len(rates) == 2
    # Two share the fake GPU where two cores are free.
    together = 2 if 0.95 * rates[1] > rates[0] else 1
    assert RunDir.open(hosts.folder / "run").document().settings.gpus_per_trial == 1 / together
    assert f"{together} at a time; rungs" in done.stdout
    (joined,) = re.findall(r"host .* has joined: (\d) more at a time", done.stdout)
    assert int(joined) == together
    until = time.monotonic() + 60
    while hosts.nodes() > 1:
        assert time.monotonic() < until
        time.sleep(1)


@pytest.mark.parametrize("hosts", [{"CPU": 2}], indirect=True)
def test_a_trial_that_no_host_of_the_autoscaler_fits_is_refused(hosts: Hosts) -> None:
    done = launch(hosts, "never", gpus_per_trial="1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no host of the cluster has a CPU and a GPU for a trial" in done.stderr
    assert not (hosts.folder / "never").exists()
