"""Claim: a driver that was paused and wakes up touches nothing that its successor has written.

Each schedule is a search in a bucket. Its driver is stopped (SIGSTOP) at a random moment, and another host resumes the
run at once, so that it claims the run after 30 seconds; the first driver goes on (SIGCONT) 20 to 80 seconds after it
was stopped: before, during or after that claim. By the access log of the S3 server, which knows each host by its
address, the first one writes or deletes no object that the second has written. One of the two, and only one, brings the
run to its end, with every trial once.

`--folder` keeps what was found: a benchmark that was stopped goes on from there. Needs root, for the namespaces.
"""

import argparse
import json
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.hosts import Hosts
from benchmarks.machine import cpu_name
from benchmarks.small_dataset import HYBRIDTUNE, prepare_small_dataset
from hybridtune.search.cluster.maps import cores

AT_ONCE = 2
"""They mostly wait."""
SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32, 48]}\n  layers: {choices: [1, 2]}\n"
TRIALS = 12
BUDGET = (
    *("--trials", str(TRIALS), "--iterations", "5", "--patience", "5", "--samples-per-iteration", "4096"),
    *("--scheduler", "none", "--sampler", "random", "--top-k", "1", "--seeds", "1", "--concurrent", "1"),
)
CHANGES = re.compile(r'^(\S+) - - \[.*?\] "(PUT|DELETE|POST) /(\S+?)(?:\?\S*)? HTTP/1\.1" 2')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedules", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = split_brain(given.folder or Path(temporary), given.schedules)
    result = {
        "schedules": len(found),
        "woke": dict(Counter(one["woke"] for one in found)),
        "objects_touched": sum(one["touched"] for one in found),
        "runs_with_one_end": sum(one["ends"] == 1 for one in found),
        "runs_with_every_trial_once": sum(one["whole"] for one in found),
    }
    holds = result["objects_touched"] == 0 and all(one["ends"] == 1 and one["whole"] for one in found)
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "split_brain", "machine": machine, **result, "holds": holds}))


def split_brain(folder: Path, schedules: int) -> list[dict[str, Any]]:
    """What came of each schedule; `folder` may hold an earlier part of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "schedules.jsonl"
    found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {one["number"] for one in found}
    with Hosts() as hosts, ThreadPoolExecutor(AT_ONCE) as threads:
        bucket = hosts.start_s3_server("runs")
        (hosts.folder / "space.yaml").write_text(SPACE)
        lanes = [Lane(hosts, bucket, number) for number in range(AT_ONCE)]
        prepare_small_dataset(hosts, "a0", hosts.folder)
        left = [number for number in range(schedules) if number not in done]
        work = [partial(lane.run_all, left[place::AT_ONCE], log) for place, lane in enumerate(lanes)]
        for each in [threads.submit(one) for one in work]:
            found += each.result()
    return found


class Lane:
    """Two hosts, on which one schedule runs after another."""

    def __init__(self, hosts: Hosts, bucket: dict[str, str], number: int) -> None:
        self._hosts, self._bucket = hosts, bucket
        self._first, self._second = f"a{number}", f"b{number}"
        hosts.add(self._first, 20 + number)
        hosts.add(self._second, 30 + number)
        self._addresses = f"10.99.0.{20 + number}", f"10.99.0.{30 + number}"

    def run_all(self, numbers: Sequence[int], log: Path) -> list[dict[str, Any]]:
        found = []
        for number in numbers:
            found.append({"number": number, **self._run(number)})
            with log.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
        return found

    def _run(self, number: int) -> dict[str, Any]:
        chance = random.Random(number)  # noqa: S311 no secret
        run = f"s3://runs/{number:03d}"
        for host in (self._first, self._second):
            self._hosts.log(host).write_text("")
        line = ("launch", "dataset", "--space", "space.yaml", "--run", run, *BUDGET)
        first = self._hosts.start(self._first, [HYBRIDTUNE, *line], self._bucket)
        self._hosts.wait_for_line(self._first, r"trial \d+ starts", first)
        time.sleep(chance.uniform(0, 5))
        first.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        second = self._hosts.start(self._second, [HYBRIDTUNE, "resume", run], self._bucket)
        time.sleep(chance.uniform(20, 80) - (time.monotonic() - stopped))
        claimed = self._claimed(number)
        first.send_signal(signal.SIGCONT)
        statuses = first.wait(600), second.wait(600)
        return {
            "woke": "after the claim" if claimed else "before the claim",
            "statuses": statuses,
            "ends": statuses.count(0),
            "touched": self._touched(number),
            "whole": self._whole(run),
        }

    def _claimed(self, number: int) -> bool:
        return any(name == f"runs/{number:03d}/leases/000002.json" for _, _, name in self._changes(number))

    def _touched(self, number: int) -> int:
        """How many objects of the second driver the first has changed."""
        first, second = self._addresses
        theirs: set[str] = set()
        touched = 0
        for address, method, name in self._changes(number):
            if address == second and method != "DELETE":
                theirs.add(name)
            touched += address == first and name in theirs
        return touched

    def _changes(self, number: int) -> list[tuple[str, str, str]]:
        """(address, method, object), in their order."""
        lines = re.sub(r"\x1b\[\d*m", "", self._hosts.log("s3").read_text()).splitlines()
        found = [match.groups() for match in map(CHANGES.match, lines) if match]
        return [(address, method, name) for address, method, name in found if name.startswith(f"runs/{number:03d}/")]

    def _whole(self, run: str) -> bool:
        done = self._hosts.run(self._second, [HYBRIDTUNE, "status", run, "--json"], self._bucket)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        status = json.loads(done.stdout)
        return bool(status["status"] == "done" and status["trials"]["complete"] == TRIALS)


if __name__ == "__main__":
    main()
