"""Claim: with 16, 64, 256 and 1,024 workers, who wait for one driver to decide for each of them, the workers train for
at least 95% of the time until the last configuration is begun, and our search is not slower to the target than plain
stopping is.

A simulation of W workers over curve tables that a forest made dense, driven by the objects that decide in a search. Ten
configurations a worker, drawn at random by both schedules, so that nothing but the schedule differs; the target is the
regret that stopping (grace period 4, reduction factor 3) ends with in the median. An iteration takes `--iteration`
seconds, a decision of the driver `--decision`: what `search_overhead` finds for a trial that trains nothing and for its
draw. Promotion is told with every lowest rung in `--grace`; "from" is the first of them at which its workers are busy,
and what it "holds" by.

`python -m benchmarks.many_workers FOLDER_OF_PUBLIC_TABLES`
"""

import argparse
import json
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.machine import cpu_name
from benchmarks.public_tables import read_public
from benchmarks.surrogate import dense
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.replay.choosers import AnyRow
from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.schedules import promoting, stopping
from hybridtune.search.replay.simulation import Replayed, regret, simulate

WORKERS = (16, 64, 256, 1024)
TRIALS_PER_WORKER = 10
BUSY = 0.95


@dataclass(frozen=True)
class Task:
    path: Path
    workers: int
    grace_period: int
    promotes: bool
    seed: int


@dataclass(frozen=True)
class Outcome:
    busy: float
    """Share of the workers' time until the last configuration was begun."""
    seconds_J: tuple[float, ...]
    regret_J: tuple[float, ...]

    def until(self, aim: float) -> float:
        """Seconds; infinite if it never gets there."""
        return next((at for at, found in zip(self.seconds_J, self.regret_J, strict=True) if found <= aim), np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("public", type=Path, help="folder of public tables")
    parser.add_argument("--iteration", type=float, default=10.0, help="seconds")
    parser.add_argument("--decision", type=float, default=0.1, help="seconds")
    parser.add_argument("--grace", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    paths = sorted(given.public.glob("*.parquet"))
    arms = [(False, 4), *((True, grace) for grace in given.grace)]
    tasks = [
        Task(path, workers, grace, promotes, seed)
        for path in paths
        for workers in given.workers
        for promotes, grace in arms
        for seed in range(given.seeds)
    ]
    with process_map(cores()) as parallel_map:
        found = list(parallel_map(partial(outcome, iteration=given.iteration, decision=given.decision), tasks))
    outcomes = dict(zip(tasks, found, strict=True))
    said = {"benchmark": "many_workers", "machine": {"cpu": cpu_name(), "cores": cores()}} | vars(given)
    said |= {"public": given.public.name, "tables": [path.stem for path in paths]}
    said["found"] = {workers: compared(outcomes, paths, workers, given.grace, given.seeds) for workers in given.workers}
    print(json.dumps(said))


def compared(
    outcomes: dict[Task, Outcome], paths: list[Path], workers: int, graces: list[int], seeds: int
) -> dict[str, object]:
    def of(path: Path, grace: int, *, promotes: bool) -> list[Outcome]:
        return [outcomes[Task(path, workers, grace, promotes, seed)] for seed in range(seeds)]

    told: dict[str, object] = {}
    for name, promotes, grace in [("stopping 4", False, 4), *((f"promotion {grace}", True, grace) for grace in graces)]:
        ratios = []
        for path in paths:
            stock = of(path, 4, promotes=False)
            aim = float(np.median([each.regret_J[-1] for each in stock]))
            theirs = float(np.median([each.until(aim) for each in stock]))
            ratios.append(float(np.median([each.until(aim) for each in of(path, grace, promotes=promotes)])) / theirs)
        busy = float(np.mean([each.busy for path in paths for each in of(path, grace, promotes=promotes)]))
        told[name] = {"busy": round(busy, 3), "time_to_target": round(float(np.median(ratios)), 2)}
    busy_from = [grace for grace in graces if told[f"promotion {grace}"]["busy"] >= BUSY]  # type: ignore[index]
    first = busy_from[0] if busy_from else None
    holds = first is not None and told[f"promotion {first}"]["time_to_target"] <= 1  # type: ignore[index]
    return told | {"from": first, "holds": holds}


def outcome(task: Task, iteration: float, decision: float) -> Outcome:
    table = read(task.path, iteration)
    schedule = (promoting if task.promotes else stopping)(table.iterations, task.grace_period, 3)
    trials = TRIALS_PER_WORKER * task.workers
    replayed = simulate(table, schedule, AnyRow(task.seed), trials, task.workers, decision)
    changes = replayed.changes
    return Outcome(
        busy_share(replayed, iteration, task.workers),
        tuple(moment.seconds for moment in changes),
        tuple(regret(table, [moment.row for moment in changes]).tolist()),
    )


def busy_share(replayed: Replayed, iteration: float, workers: int) -> float:
    """What they trained until the last configuration was begun, each moment being the end of one iteration."""
    until = replayed.last_begun
    ends = np.array([moment.seconds for moment in replayed.moments])
    trained = np.clip(until - (ends - iteration), 0.0, iteration).sum()
    return float(trained / (workers * until))


@cache
def read(path: Path, iteration: float) -> CurveTable:
    """Once in each process."""
    table = dense(read_public(path), rows=TRIALS_PER_WORKER * max(WORKERS))
    return replace(table, seconds_NI=np.full_like(table.seconds_NI, iteration))


if __name__ == "__main__":
    main()
