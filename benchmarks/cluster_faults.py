"""Claim: 100 faults of processes, hosts and links cost a search on three hosts no trial, none is counted twice, and its
values are those of an undisturbed search.

Searches once undisturbed on this machine, and once on a Ray cluster of a head and three hosts in network namespaces,
with a fault now and then:

- trainer: SIGKILL to a training process;
- raylet: SIGKILL to a host's raylet, with which Ray ends on it; it is started again;
- host: SIGKILL to every process of a host; it is started again;
- link: a host's link is cut for up to LINK_SECONDS;
- driver: SIGKILL to the search itself, which is resumed.

No scheduler, a random sampler: trial n depends on the seed and n alone. An iteration that was trained twice is told by
its time in curves.jsonl, which differs.

`--folder` keeps everything: a benchmark that was stopped goes on from there. Needs root, for the namespaces.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hosts import HEAD, PORT, Hosts, command_line
from benchmarks.machine import cpu_name
from benchmarks.redone import redone_after
from hybridtune.search.cluster.maps import cores
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import best_first, open_study, started

KINDS = {"trainer": 45, "raylet": 12, "host": 12, "link": 16, "driver": 15}
"""Of 100 faults."""
WORKERS = (1, 2, 3)
LINK_SECONDS, PAUSE_SECONDS = 30.0, 5.0
HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32]}\n  layers: 1\n"
BUDGET = (
    *("--iterations", "20", "--patience", "20", "--samples-per-iteration", "8192", "--scheduler", "none"),
    *("--sampler", "random", "--top-k", "1", "--seeds", "1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = cluster_faults(given.folder or Path(temporary), given.faults, given.trials, given.seed)
    claims = {"lost": 0, "twice": 0, "redone_of_a_trial_at_most": 1}
    holds = result["same_search"] and all(result[name] <= claim for name, claim in claims.items())
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "cluster_faults", "machine": machine, **result, "claims": claims, "holds": holds}))


def cluster_faults(folder: Path, faults: int, trials: int, seed: int) -> dict[str, Any]:
    """What the faults did; `folder` may hold an earlier part of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text(SPACE)
    launch = ("launch", "dataset", "--space", "space.yaml", "--trials", str(trials), *BUDGET, "--run")
    with Hosts() as hosts:
        cluster = Cluster(hosts, folder, launch)
        cluster.undisturbed()
        log = folder / "faults.jsonl"
        done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        chance = random.Random(seed + len(done))  # noqa: S311 no secret
        cluster.start()
        while len(done) < faults and cluster.searches():
            kind = chance.choices(list(KINDS), weights=list(KINDS.values()))[0]
            points = cluster.curve_points()
            if not cluster.fault(kind, chance):
                continue
            done.append({"kind": kind, "curve_points": points})
            with log.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            cluster.wait_for_training(chance.uniform(0, PAUSE_SECONDS))
        cluster.to_the_end()
    return verdict(RunDir(folder / "disturbed"), RunDir(folder / "undisturbed"), done)


class Cluster:
    """A head that drives the search, and the hosts that train."""

    def __init__(self, hosts: Hosts, folder: Path, launch: Sequence[str]) -> None:
        self._hosts, self._folder, self._launch = hosts, folder, launch
        hosts.start_head()

    def undisturbed(self) -> None:
        if not (self._folder / "raw").exists():
            self._run("synth", "raw", "--tokens", "60", "--minutes", "800")
        if not (self._folder / "dataset").exists():
            self._run("prepare", "raw/launches", "dataset", "--horizons", "15,60", "--expanding-max", "240")
        if not (self._folder / "undisturbed").exists():
            self._run(*self._launch, "undisturbed")
        else:
            self._run("resume", "undisturbed")

    def start(self) -> None:
        for number in WORKERS:
            self._hosts.start_worker(number)
        self._drive()

    def searches(self) -> bool:
        """Whether there is anything left of the search to disturb."""
        return not (self._folder / "disturbed" / "trials.parquet").exists()

    def fault(self, kind: str, chance: random.Random) -> bool:
        """Whether there was something to hit."""
        number = chance.choice(WORKERS)
        name = f"w{number}"
        match kind:
            case "driver":
                self._driver.kill()
                self._driver.wait()
                self._drive()
            case "link":
                self._hosts.cut(name)
                time.sleep(chance.uniform(1, LINK_SECONDS))
                self._hosts.mend(name)
            case "host":
                self._hosts.kill_all(name)
                self._hosts.start_worker(number, wait=False)
            case "raylet" | "trainer":
                pids = self._pids(name, "raylet/raylet" if kind == "raylet" else "ray::ImplicitFunc")
                if not pids:
                    return False
                os.kill(pids[0], signal.SIGKILL)
                if kind == "raylet":
                    self._restart(number)
        return True

    def wait_for_training(self, seconds: float) -> None:
        """For so long, and until something trains."""
        until = time.monotonic() + seconds
        while self.searches() and (time.monotonic() < until or not self._trains()):
            if self._driver.poll() is not None:
                break
            time.sleep(0.2)

    def to_the_end(self) -> None:
        if self._driver.wait() != 0:
            raise RuntimeError(self._hosts.log("head").read_text()[-3000:])

    def curve_points(self) -> int:
        path = self._folder / "disturbed" / "tune" / "curves.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _drive(self) -> None:
        address = ("--address", f"{HEAD}:{PORT}")
        made = (self._folder / "disturbed").exists()
        line = ("resume", "disturbed") if made else (*self._launch, "disturbed")
        self._driver = self._hosts.start("head", [HYBRIDTUNE, *line, *address], cwd=self._folder)

    def _restart(self, number: int) -> None:
        # With its raylet `ray start` ends all else on the host.
        until = time.monotonic() + 20
        while self._hosts.pids(f"w{number}") and time.monotonic() < until:
            time.sleep(0.1)
        self._hosts.kill_all(f"w{number}")
        self._hosts.start_worker(number, wait=False)

    def _trains(self) -> bool:
        return any(self._pids(f"w{number}", "ray::ImplicitFunc.train") for number in WORKERS)

    def _pids(self, name: str, words: str) -> list[int]:
        return [pid for pid in self._hosts.pids(name) if words in command_line(pid)]

    def _run(self, *arguments: str) -> None:
        done = self._hosts.run("head", [HYBRIDTUNE, *arguments], timeout=3600, cwd=self._folder)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)


def verdict(disturbed: RunDir, undisturbed: RunDir, faults: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told, expected = (
        [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in started(open_study(run))]
        for run in (disturbed, undisturbed)
    )
    redone = redone_after(disturbed.curve_log, [fault["curve_points"] for fault in faults])
    hosts = Counter(trial.user_attrs.get("host") for trial in started(open_study(disturbed)))
    winners = [best_first(open_study(run))[0].number for run in (disturbed, undisturbed)]
    return {
        "faults": dict(Counter(fault["kind"] for fault in faults)),
        "trials": len(told),
        "hosts": dict(hosts),
        "lost": len(expected) - len(told) + sum(state == "FAIL" for _, state, *_ in told),
        "twice": len(told) - len({json.dumps(params, sort_keys=True) for *_, params, _ in told}),
        "same_search": told == expected and winners[0] == winners[1],
        "iterations": sum(len(values) for *_, values in told),
        "redone": sum(redone.values()),
        "redone_of_a_trial_at_most": max(redone.values(), default=0),
        "checkpoints_left": len(list(disturbed.path.rglob("checkpoint-*"))),
    }


if __name__ == "__main__":
    main()
