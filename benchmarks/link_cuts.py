"""Claim: after a host's link was cut, no checkpoint is read that another attempt at its trial has already gone past.

A search of trials on two hosts, with its run in a bucket, while again and again the link of one host is cut for 2 to 25
seconds. Ray gives a host up after about 6 seconds here, so after some cuts a trial goes on where it was, and after
others it goes on elsewhere, and what the first host still writes comes late. By the access log of the S3 server, a
checkpoint is stale when it is read after one of a later attempt at the same trial was written. Every trial is there
once in the end.

Needs root, for the namespaces.
"""

import argparse
import json
import random
import re
import time
from typing import Any

from benchmarks.hosts import HEAD, PORT, Hosts
from benchmarks.machine import cpu_name
from benchmarks.small_dataset import HYBRIDTUNE, prepare_small_dataset
from hybridtune.search.cluster.maps import cores

WORKERS = (1, 2)
CUT_SECONDS, PAUSE_SECONDS = (2.0, 25.0), 8.0
RUN = "s3://runs/run"
SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32, 48, 64]}\n  layers: {choices: [1, 2]}\n"
BUDGET = (
    *("--iterations", "40", "--patience", "40", "--samples-per-iteration", "4096", "--scheduler", "none"),
    *("--sampler", "random", "--top-k", "1", "--seeds", "1"),
)
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1500",
    "RAY_health_check_failure_threshold": "3",
}
"""So that Ray gives a host up in seconds and not in half a minute."""
CHECKPOINTS = re.compile(r'"(GET|PUT) /runs/run/(\S+?)/checkpoint-\w+-(\d+)-(\d+)\.pt HTTP/1\.1" 2')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--trials", type=int, default=400, help="more than the cuts leave time for")
    given = parser.parse_args()
    result = link_cuts(given.cuts, given.trials)
    holds = result["stale_reads"] == 0 and result["trials_known_once"]
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "link_cuts", "machine": machine, **result, "holds": holds}))


def link_cuts(cuts: int, trials: int) -> dict[str, Any]:
    chance = random.Random(0)  # noqa: S311 no secret
    with Hosts() as hosts:
        bucket = hosts.start_s3_server("runs")
        hosts.start_head(changes=bucket | SOON)
        for number in WORKERS:
            hosts.start_worker(number, changes=bucket)
        (hosts.folder / "space.yaml").write_text(SPACE)
        prepare_small_dataset(hosts, "head", hosts.folder)
        line = ("launch", "dataset", "--space", "space.yaml", "--run", RUN, "--trials", str(trials), *BUDGET)
        hosts.log("head").write_text("")
        driver = hosts.start("head", [HYBRIDTUNE, *line, "--address", f"{HEAD}:{PORT}"], bucket)
        hosts.wait_for_line("head", r"trial \d+ starts", driver)
        for _ in range(cuts):
            number = chance.choice(WORKERS)
            hosts.cut(f"w{number}")
            time.sleep(chance.uniform(*CUT_SECONDS))
            hosts.mend(f"w{number}")
            time.sleep(chance.uniform(0, PAUSE_SECONDS))
            for each in WORKERS:
                # Ray ends on a host that it has given up, once that hears of it.
                if not hosts.pids(f"w{each}"):
                    hosts.start_worker(each, wait=False, changes=bucket)
            if driver.poll() is not None:
                raise RuntimeError(f"the search has ended: {hosts.log('head').read_text()[-2000:]}")
        stopped = hosts.run("head", [HYBRIDTUNE, "stop", RUN], bucket)
        driver.wait(120)
        status = json.loads(hosts.run("head", [HYBRIDTUNE, "status", RUN, "--json"], bucket).stdout)
        events = [match.groups() for match in map(CHECKPOINTS.search, plain(hosts.log("s3").read_text())) if match]
        said = hosts.log("head").read_text()
    return {
        "cuts": cuts,
        "hosts_given_up": len(re.findall(r"host \S+ \(\S+\) is gone", said)),
        "trials": {name: count for name, count in status["trials"].items() if count},
        "trials_known_once": stopped.returncode == 0 and status["trials"]["failed"] == 0,
        "checkpoints_read": sum(kind == "GET" for kind, *_ in events),
        "stale_reads": stale(events),
    }


def stale(events: list[tuple[str, ...]]) -> int:
    latest: dict[str, tuple[int, int]] = {}
    found = 0
    for kind, trial, epoch, number in events:
        attempt = int(epoch), int(number)
        if kind == "PUT":
            latest[trial] = max(attempt, latest.get(trial, attempt))
        found += kind == "GET" and attempt < latest.get(trial, attempt)
    return found


def plain(log: str) -> list[str]:
    """Without the colours of the server."""
    return re.sub(r"\x1b\[\d*m", "", log).splitlines()


if __name__ == "__main__":
    main()
