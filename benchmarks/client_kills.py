"""Claim: a client that is killed while it launches or follows a search costs nothing: one job, and a log without a gap.

The same `hybridtune launch --or-resume --address http://...` is started again and again on a host outside the cluster,
and killed (SIGKILL) at a random moment: while it sends the dataset, while it submits the job, while it follows. Then
one client stays to the end. The job server has had one job, the run one driver, and what each client has printed of the
search is the beginning of what the last one has.

Needs root, for the namespaces.
"""

import argparse
import json
import os
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.hosts import HEAD, Hosts
from benchmarks.machine import cpu_name
from benchmarks.small_dataset import HYBRIDTUNE, prepare_small_dataset
from hybridtune.search.cluster.maps import cores

SERVER = f"http://{HEAD}:8265"
RUN = "s3://runs/run"
CLIENT_SECONDS = 12.0
SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32]}\n  layers: 1\n"
LAUNCH = (
    *("launch", "dataset", "--space", "space.yaml", "--run", RUN, "--or-resume", "--address", SERVER),
    *("--iterations", "20", "--patience", "20", "--samples-per-iteration", "4096", "--scheduler", "none"),
    *("--sampler", "random", "--top-k", "1", "--seeds", "1"),
)
JOBS = f"""
import json
from ray.job_submission import JobSubmissionClient
jobs = JobSubmissionClient({SERVER!r}).list_jobs()
print(json.dumps([job.submission_id for job in jobs if job.type == "SUBMISSION"]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40, help="enough to outlive the kills")
    given = parser.parse_args()
    result = client_kills(given.kills, given.trials)
    holds = result["jobs"] == 1 and result["drivers"] == 1 and result["logs_without_gap"] == given.kills
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "client_kills", "machine": machine, **result, "holds": holds}))


def client_kills(kills: int, trials: int) -> dict[str, Any]:
    chance = random.Random(0)  # noqa: S311 no secret
    with Hosts() as hosts:
        bucket = hosts.start_s3_server("runs")
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        hosts.start_head("--dashboard", "--dashboard-host=0.0.0.0", changes=bucket | path)
        hosts.start_worker(1, changes=bucket)
        hosts.add("client", 100)
        home = hosts.folder / "client"
        (home / "space.yaml").write_text(SPACE)
        prepare_small_dataset(hosts, "client", home)
        command = [HYBRIDTUNE, *LAUNCH, "--trials", str(trials)]
        printed = []
        for _ in range(kills):
            hosts.log("client").write_text("")
            client = hosts.start("client", command, bucket, cwd=home)
            time.sleep(chance.uniform(0, CLIENT_SECONDS))
            if client.poll() is not None:
                raise RuntimeError(f"the client has ended: {hosts.log('client').read_text()}")
            client.kill()
            client.wait()
            printed.append(searched(hosts.log("client").read_text()))
        hosts.log("client").write_text("")
        if (status := hosts.start("client", command, bucket, cwd=home).wait(1200)) != 0:
            raise RuntimeError(f"exit status {status}: {hosts.log('client').read_text()[-2000:]}")
        whole = searched(hosts.log("client").read_text())
        jobs = json.loads(hosts.run("client", [sys.executable, "-c", JOBS]).stdout)
        leases = set(re.findall(r'"PUT /runs/run/leases/(\d+)\.json', hosts.log("s3").read_text()))
    return {
        "kills": kills,
        "killed_while_following": sum(bool(lines) for lines in printed),
        "jobs": len(jobs),
        "drivers": len(leases),
        "lines": len(whole),
        "logs_without_gap": sum(lines == whole[: len(lines)] for lines in printed),
    }


def searched(log: str) -> list[str]:
    """The lines about trials, without one that a kill tore."""
    return [line for line in log.splitlines(keepends=True) if line.endswith("\n") and re.search(r"trial \d+ ", line)]


if __name__ == "__main__":
    main()
