"""Claim: a search that has lost its head, every worker and their disks trains again within 60 s, from the bucket alone.

A search on a head and two workers in network namespaces, with its run in a bucket. Again and again all processes of all
hosts are killed (SIGKILL) and the head's folder is removed; a fresh head and fresh workers are started, the dataset is
laid down again, and the same `launch --or-resume` is given. The time is from that command to the first trial that
starts. In the end every trial is there once, and none was started again after it was told complete.

Needs root, for the namespaces.
"""

import argparse
import json
import re
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.hosts import HEAD, PORT, Hosts
from benchmarks.machine import cpu_name
from benchmarks.small_dataset import HYBRIDTUNE, prepare_small_dataset
from hybridtune.search.cluster.maps import cores

SECONDS = 60.0
RUN = "s3://runs/run"
SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32]}\n  layers: 1\n"
LAUNCH = (
    *("launch", "dataset", "--space", "space.yaml", "--run", RUN, "--or-resume", "--address", f"{HEAD}:{PORT}"),
    *("--iterations", "8", "--patience", "8", "--samples-per-iteration", "4096", "--scheduler", "none"),
    *("--sampler", "random", "--top-k", "1", "--seeds", "1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--losses", type=int, default=5)
    given = parser.parse_args()
    result = head_lost(given.losses)
    holds = result["longest"] <= SECONDS and result["whole"] and not result["told_and_started_again"]
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "head_lost", "machine": machine, **result, "holds": holds}))


def head_lost(losses: int) -> dict[str, Any]:
    trials = 3 * (losses + 1)
    command = [HYBRIDTUNE, *LAUNCH, "--trials", str(trials)]
    seconds: list[float] = []
    told: set[str] = set()
    again = 0
    with Hosts() as hosts:
        bucket = hosts.start_s3_server("runs")
        kept = hosts.folder / "kept"
        kept.mkdir()
        for loss in range(losses + 1):
            home = _fresh_cluster(hosts, bucket)
            if loss == 0:
                prepare_small_dataset(hosts, "head", kept)
            shutil.copytree(kept / "dataset", home / "dataset")
            (home / "space.yaml").write_text(SPACE)
            hosts.log("head").write_text("")
            began = time.monotonic()
            driver = hosts.start("head", command, bucket, cwd=home)
            hosts.wait_for_line("head", r"trial \d+ starts", driver)
            if loss > 0:
                seconds.append(time.monotonic() - began)
            if loss < losses:
                hosts.wait_for_line("head", r"trial \d+ complete", driver)
                for name in ("head", "w1", "w2"):
                    hosts.kill_all(name)
            status = driver.wait(600)
            output = hosts.log("head").read_text()
            again += len(set(re.findall(r"(trial \d+) starts", output)) & told)
            told |= set(re.findall(r"(trial \d+) complete", output))
        if status != 0:
            raise RuntimeError(f"exit status {status}: {output[-2000:]}")
        done = hosts.run("head", [HYBRIDTUNE, "status", RUN, "--json"], bucket)
        found = json.loads(done.stdout)
    return {
        "losses": losses,
        "median": statistics.median(seconds),
        "longest": max(seconds),
        "told_and_started_again": again,
        "whole": found["status"] == "done" and found["trials"]["complete"] == trials,
    }


def _fresh_cluster(hosts: Hosts, bucket: dict[str, str]) -> Path:
    """Returns the folder where the head works; the workers do not see it."""
    home = hosts.folder / "head"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    hosts.start_head()
    for number in (1, 2):
        hosts.start_worker(number, before=f"mount -t tmpfs none {home}", changes=bucket)
    return home


if __name__ == "__main__":
    main()
