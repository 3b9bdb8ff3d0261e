"""Claim: once a quarter of a search's trials have ended, its time left is told to within 30% in four of five searches.

Searches of 50 trials, two at a time, over three spaces and three schedulers, each with a seed of its own. They are
watched as `hybridtune dashboard` watches, through their files. At the first look at which 13 trials have ended, the
estimate is held against the time that the search then took. How often the interval, which should hold four in five,
held the truth is told beside it.

`--folder` keeps what was found: a benchmark that was stopped goes on from there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.machine import cpu_name
from hybridtune.search.cluster.maps import cores
from hybridtune.search.dashboard.watcher import Look

FIRST_SEED = 127
"""Those below are of the searches by which the estimate was made."""
HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
TRIALS = 50
"""As many as `hybridtune launch` runs unless told otherwise."""
QUARTER = -(-TRIALS // 4)
WITHIN, CLAIM = 0.3, 0.8
SPACES = {
    "basic": "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32, 64]}\n",
    "hybrid": "base: hybrid\ndimensions:\n  hidden_size: {choices: [16, 32]}\n  attention_heads: {choices: [2, 4]}\n",
    "tcn": "base: tcn\ndimensions:\n  hidden_size: {choices: [16, 32]}\n",
}
SCHEDULERS = ("asha", "hyperband", "none")
BUDGET = (
    *("--trials", str(TRIALS), "--iterations", "12", "--samples-per-iteration", "1024", "--grace-period", "2"),
    *("--concurrent", "2", "--top-k", "1", "--seeds", "1"),
)
LOOK_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--searches", type=int, default=9)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = searches((given.folder or Path(temporary)).resolve(), given.searches)
    errors = [abs(one["told"] / one["left"] - 1) for one in found]
    within = sum(error <= WITHIN for error in errors) / len(errors)
    result = {
        "searches": len(found),
        f"within_{WITHIN:.0%}": round(within, 3),
        "median_error": round(statistics.median(errors), 3),
        "interval_held": round(sum(one["low"] <= one["left"] <= one["high"] for one in found) / len(found), 3),
        "seconds_left": [round(one["left"]) for one in found],
        "ratio": [round(one["told"] / one["left"], 2) for one in found],
    }
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "eta", "machine": machine, **result, "claim": CLAIM, "holds": within >= CLAIM}))


def searches(folder: Path, count: int) -> list[dict[str, Any]]:
    """What was told and what was true in each; `folder` may hold an earlier part of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "searches.jsonl"
    found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not (folder / "dataset").exists():
        run(folder, "synth", "raw", "--tokens", "60", "--minutes", "800")
        run(folder, "prepare", "raw/launches", "dataset", "--horizons", "15,60", "--expanding-max", "240")
    for name, text in SPACES.items():
        (folder / f"{name}.yaml").write_text(text)
    settings = list(product(SPACES, SCHEDULERS))
    for number in range(len(found), count):
        seed, (space, scheduler) = FIRST_SEED + number, settings[number % len(settings)]
        one = {"seed": seed, "space": space, "scheduler": scheduler, **watched(folder, seed, space, scheduler)}
        with log.open("a") as file:
            file.write(json.dumps(one) + "\n")
        found.append(one)
    return found


def watched(folder: Path, seed: int, space: str, scheduler: str) -> dict[str, float]:
    name = f"run-{seed}"
    options = ("--space", f"{space}.yaml", "--scheduler", scheduler, "--seed", str(seed), "--quiet")
    line = [HYBRIDTUNE, "launch", "dataset", "--run", name, *options, *BUDGET]
    with (folder / f"{name}.log").open("w") as log:
        search = subprocess.Popen(line, cwd=folder, env=environment(folder), stdout=log, stderr=log)
    try:
        while not (folder / name / "run.json").exists():
            refuse_end(search, folder / f"{name}.log")
            time.sleep(LOOK_SECONDS)
        look = Look.at(str(folder / name))
        told, at = None, 0.0
        while (seen := look()).status == "searching":
            ended = sum(count for state, count in seen.states.items() if state != "running")
            if told is None and ended >= QUARTER:
                told, at = seen.time_left, time.monotonic()
            refuse_end(search, folder / f"{name}.log")
            time.sleep(LOOK_SECONDS)
        if told is None:
            raise RuntimeError(f"{name}: nothing was told of the time left")
        return {"left": time.monotonic() - at, "told": told.seconds, "low": told.low, "high": told.high}
    finally:
        search.terminate()
        search.wait()


def refuse_end(search: "subprocess.Popen[bytes]", log: Path) -> None:
    if search.poll() is not None:
        raise RuntimeError(log.read_text()[-2000:])


def run(folder: Path, *arguments: str) -> None:
    subprocess.run([HYBRIDTUNE, *arguments], cwd=folder, env=environment(folder), check=True, capture_output=True)


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"HOME": str(folder)}


if __name__ == "__main__":
    main()
