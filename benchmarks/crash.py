"""Claim: 100 SIGKILLs of driver and workers cost a search no trial, none is counted twice, and little is done again.

Searches once undisturbed and once with kills, on the same generated launches, one trial at a time. A kill hits, at a
random moment,

- the driver alone, up to DRIVER_SECONDS after its command started, so at times before anything trains; then the run is
  resumed;
- the worker that trains, up to WORKER_SECONDS after a trial started; the search itself goes on.

Then both searches must hold the same trials, values, curves and winner. An iteration that was trained twice is told by
its time in curves.jsonl, which differs; one that a resume only reports again has the same.

`--folder` keeps everything: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import cpu_name, descendants
from benchmarks.redone import redone_after
from hybridtune.search.cluster.maps import cores
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import best_first, open_study, started

DRIVER_SECONDS, WORKER_SECONDS = 20.0, 6.0
CLAIM_RESUME_SECONDS, CLAIM_REDONE = 15.0, 1
HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
SPACE = """
base: hybrid
dimensions:
  hidden_size: 32
  attention_heads: {choices: [2, 4]}
  windows: {choices: [15/60, "15"]}
  layers: 1
"""
BUDGET = (
    *("--iterations", "9", "--samples-per-iteration", "2048", "--grace-period", "2", "--concurrent", "1"),
    *("--top-k", "1", "--seeds", "1"),
)

Victim = Literal["driver", "worker"]


@dataclass(frozen=True)
class Kill:
    victim: Victim
    started_seconds: float | None
    """From the command to the first trial that ran; None: it was killed before."""
    curve_points: int
    """Lines of curves.jsonl then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scheduler", default=Settings.model_fields["scheduler"].default)
    parser.add_argument("--sampler", default=Settings.model_fields["sampler"].default)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        how = ("--scheduler", given.scheduler, "--sampler", given.sampler)
        result = crash(given.folder or Path(temporary), given.kills, given.trials, given.seed, how)
    claims = {"lost": 0, "twice": 0, "redone_at_most": CLAIM_REDONE, "resume_seconds_at_most": CLAIM_RESUME_SECONDS}
    holds = result["same_search"] and all(result[name] <= claim for name, claim in claims.items())
    machine = {"cpu": cpu_name(), "cores": cores()}
    said = {"benchmark": "crash", "machine": machine, "scheduler": given.scheduler, "sampler": given.sampler}
    print(json.dumps({**said, **result, "claims": claims, "holds": holds}))


def crash(folder: Path, kills: int, trials: int, seed: int, how: Sequence[str] = ()) -> dict[str, Any]:
    """What the kills did; `folder` may hold an earlier part of the same. how: further options of the search."""
    place = Place(folder)
    place.prepare()
    launch = ("launch", "dataset", "--space", "space.yaml", "--trials", str(trials), *BUDGET, *how, "--run")
    place.to_the_end(launch, "undisturbed")
    killed = place.kills()
    chance = random.Random(seed + len(killed))  # noqa: S311 no secret
    while len(killed) < kills and not (folder / "disturbed" / "trials.parquet").exists():
        killed += place.disturb(launch, chance, kills - len(killed))
    place.to_the_end(launch, "disturbed")
    return verdict(RunDir(folder / "disturbed"), RunDir(folder / "undisturbed"), killed)


class Place:
    """Where the runs lie, and their commands run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "kills.jsonl"
        (folder / "home").mkdir(parents=True, exist_ok=True)
        (folder / "space.yaml").write_text(SPACE)

    def prepare(self) -> None:
        if not (self._folder / "raw").exists():
            self._run("synth", "raw", "--tokens", "60", "--minutes", "800")
        if not (self._folder / "dataset").exists():
            self._run("prepare", "raw/launches", "dataset", "--horizons", "15,60", "--expanding-max", "240")

    def kills(self) -> list[Kill]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [Kill(**json.loads(line)) for line in lines]

    def to_the_end(self, launch: Sequence[str], name: str) -> None:
        self._run(*(("resume", name) if (self._folder / name).exists() else (*launch, name)))

    def disturb(self, launch: Sequence[str], chance: random.Random, most: int) -> list[Kill]:
        """One life of the driver: workers are killed until it is its own turn."""
        command = self._start(
            *(("resume", "disturbed") if (self._folder / "disturbed").exists() else (*launch, "disturbed"))
        )
        kills: list[Kill] = []
        try:
            while len(kills) < most and command.process.poll() is None:
                kill = self._kill_one(command, chance)
                if kill is None:
                    break
                kills.append(kill)
                with self._log.open("a") as log:
                    log.write(json.dumps(asdict(kill)) + "\n")
                if kill.victim == "driver":
                    break
        finally:
            command.end()
        return kills

    def _kill_one(self, command: "Command", chance: random.Random) -> Kill | None:
        victim: Victim = chance.choice(("driver", "worker"))
        if victim == "worker" and not command.wait_for_trial():
            return None
        began, seconds = (time.monotonic(), WORKER_SECONDS) if victim == "worker" else (command.began, DRIVER_SECONDS)
        until = began + chance.uniform(0, seconds)
        while time.monotonic() < until:
            if command.process.poll() is not None:
                return None
            command.look()
            time.sleep(0.02)
        pid = command.process.pid if victim == "driver" else command.worker()
        if pid is None:
            return None
        points = self._folder / "disturbed" / "tune" / "curves.jsonl"
        os.kill(pid, signal.SIGKILL)
        command.look()
        return Kill(victim, command.first_trial, points.read_bytes().count(b"\n") if points.exists() else 0)

    def _run(self, *arguments: str) -> None:
        command = self._start(*arguments)
        try:
            if command.process.wait() != 0:
                raise RuntimeError(f"{' '.join(arguments)}: {command.output.read_text()}")
        finally:
            command.end()

    def _start(self, *arguments: str) -> "Command":
        output = self._folder / "output.txt"
        # Ray's variables would join the command to a cluster of somebody else's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [HYBRIDTUNE, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment | {"HOME": str(self._folder / "home")},
                start_new_session=True,
            )
        return Command(process, output)


class Command:
    """A driver that runs."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output
        self.began = time.monotonic()
        self.first_trial: float | None = None
        self._starts = 0

    def look(self) -> int:
        """How many more starts of a trial its output tells since the last look."""
        starts = self.output.read_text().count(" starts")
        if starts and self.first_trial is None:
            self.first_trial = time.monotonic() - self.began
        more, self._starts = starts - self._starts, starts
        return more

    def wait_for_trial(self) -> bool:
        """Until one more trial starts; False if the command ends instead."""
        while self.process.poll() is None:
            if self.look():
                return True
            time.sleep(0.02)
        return False

    def worker(self) -> int | None:
        """The process that trains, if there is one."""
        for pid in descendants(self.process.pid):
            try:
                if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::ImplicitFunc"):
                    return pid
            except OSError:
                continue  # it ended meanwhile
        return None

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def verdict(disturbed: RunDir, undisturbed: RunDir, kills: Sequence[Kill]) -> dict[str, Any]:
    told, expected = (
        [(t.state.name, t.value, t.params, t.intermediate_values) for t in started(open_study(run))]
        for run in (disturbed, undisturbed)
    )
    again = redone_after(disturbed.curve_log, [kill.curve_points for kill in kills])
    redone = [sum(count for (kill, _), count in again.items() if kill == number) for number in range(len(kills))]
    resumes = [kill.started_seconds for kill in kills if kill.victim == "driver" and kill.started_seconds is not None]
    winners = [best_first(open_study(run))[0].number for run in (disturbed, undisturbed)]
    return {
        "kills": {victim: sum(kill.victim == victim for kill in kills) for victim in ("driver", "worker")},
        "trials": len(told),
        "lost": len(expected) - len(told) + sum(state == "FAIL" for state, *_ in told),
        "twice": len(told) - len({json.dumps(params, sort_keys=True) for _, _, params, _ in told}),
        "same_search": told == expected and winners[0] == winners[1],
        "redone": sum(redone),
        "redone_at_most": max(redone, default=0),
        "resume_seconds": round(statistics.median(resumes), 1) if resumes else None,
        "resume_seconds_at_most": round(max(resumes, default=0.0), 1),
    }


if __name__ == "__main__":
    main()
