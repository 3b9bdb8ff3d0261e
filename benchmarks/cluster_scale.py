"""Claims: a search scales to several hosts, runs 64 trials at once, and costs on a cluster hardly more than on one
machine.

- linear: trials that sleep, on 1, 2 and 3 hosts in network namespaces: three hosts do at least 90% of three times what
  one does;
- many: 64 such trials at once on 4 hosts;
- overhead: trials that do nothing, 100 and 1,000 of them, on two hosts and on this machine: one costs on the cluster
  at most 1.2 times what it costs here, and the driver's memory grows by at most 50 kB for each.

Everything but the training is a real search: Ray, Tune, study.db, ASHA, the hosts' probe. Start and end are taken out,
as the difference of a long and a short search. Needs root, for the namespaces.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from benchmarks.hosts import HEAD, PORT, Hosts
from benchmarks.machine import cpu_name, rollup_kb
from hybridtune.models.training.progress import Progress
from hybridtune.search.cluster.maps import cores
from hybridtune.search.cluster.workers import workers_at
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Progressed, TrialReport
from hybridtune.search.study.rungs import SuccessiveHalving
from hybridtune.search.study.stopping import StoppingRule
from hybridtune.search.study.study import create_study
from hybridtune.search.tuning.recorder import Recorder
from hybridtune.search.tuning.scheduler import Asha
from hybridtune.search.tuning.searcher import StudySearcher
from hybridtune.search.tuning.tune import trial_folder
from hybridtune.search.workers.callback import TrainingCallback
from hybridtune.search.workers.tasks import run_tasks
from hybridtune.search.workers.trainable import TrialTask, report_to_tune
from hybridtune.spaces.hybrid import HYBRID

REPORTS = 5
ADDRESS = f"{HEAD}:{PORT}"
CLAIMS = {"of_linear": 0.9, "at_once": 64, "overhead_of_local": 1.2, "driver_kb_a_trial": 50.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        print(json.dumps(drive(Search(**json.loads(given.drive)))))
        return
    found: dict[str, Any] = {}
    for part in given.parts:
        found |= PARTS[part]()
        print(json.dumps(found), file=sys.stderr)
    holds = {
        name: found[name] >= claim if name in ("of_linear", "at_once") else found[name] <= claim
        for name, claim in CLAIMS.items()
        if name in found
    }
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "cluster_scale", "machine": machine, **found, "claims": CLAIMS, "holds": holds}))


@dataclass(frozen=True)
class Search:
    """What a driver is asked for."""

    trials: int
    sleep: float
    """Seconds of each report."""
    address: str | None
    concurrent: int


def drive(asked: Search) -> dict[str, float]:
    """In a process of its own: how long the trials took, how many ran at once, and what the driver holds at the end."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, workers_at(asked.address, say) as workers:
        settings = workers.fit(
            Settings(
                dataset=Path(folder),
                dimensions=dict(HYBRID.dimensions),
                reference=HYBRID.reference,
                trials=asked.trials,
                iterations=REPORTS,
                concurrent=asked.concurrent,
                sampler="random",
            )
        )
        run = RunDir.create(Path(folder) / "run", settings, "none")
        workers.refuse_unreachable(run.place)
        workers.start(asked.concurrent)
        study = create_study(run, HYBRID, settings.metric)
        # No rung, so that all trials take as long.
        halving = SuccessiveHalving({}, reduction_factor=3, maximize=False)
        searcher = StudySearcher(
            study, HYBRID, asked.trials, lambda: workers.at_once(settings), 0, halving, settings.sampler
        )
        stopping = StoppingRule(study, None, None)
        counted = Counted(run, study, asked.trials, (), stopping, say, halving, lambda: asked.concurrent)
        callback = TrainingCallback(TrialTask.from_tune, searcher, counted, settings, workers, run.keeper, say)
        began = time.monotonic()
        trial = partial(sleeping_trial, seconds=asked.sleep)
        run_tasks(trial, searcher, callback, run.tune, trial_folder, Asha(halving, avoided=workers.avoided))
        seconds = time.monotonic() - began
        assert sum(trial.state.is_finished() for trial in study.get_trials()) == asked.trials
        private = rollup_kb(os.getpid(), "Private_Dirty", "Private_Clean")
    return {"seconds": seconds, "at_once": counted.most, "private_kb": private}


def say(text: str) -> None:
    """Words cost nothing here."""


def sleeping_trial(config: dict[str, Any], seconds: float) -> None:
    for iteration in range(1, REPORTS + 1):
        time.sleep(seconds)
        value = 0.6 + config["number"] % 2 / 10 - iteration / 1000
        progress = Progress(iteration, iteration, value, value, 0.5, value, seconds=seconds, micro_batch=2**20)
        report_to_tune(Progressed(progress, iteration == REPORTS, "nothing"))


class Counted(Recorder):
    """How many trials ran at a time."""

    most = _running = 0

    def started(self, task: TrialTask) -> None:
        super().started(task)
        self._running += 1
        self.most = max(self.most, self._running)

    def ended(self, task: TrialTask, last: TrialReport | None) -> None:
        self._running -= 1
        super().ended(task, last)


def linear() -> dict[str, Any]:
    """Two trials at a time on each host."""
    rates = {}
    for count in (1, 2, 3):
        with Hosts() as hosts:
            start(hosts, count, cpus=2)
            few, many = 2 * count, 12 * count
            short, long = (on_cluster(hosts, Search(n, 1.0, ADDRESS, 2 * count)) for n in (few, few + many))
            rates[count] = many / (long["seconds"] - short["seconds"])
    return {
        "trials_a_minute": {count: round(60 * rate, 1) for count, rate in rates.items()},
        "of_linear": round(min(rates[count] / (count * rates[1]) for count in rates), 3),
    }


def many_at_once() -> dict[str, Any]:
    with Hosts() as hosts:
        start(hosts, 4, cpus=16)
        # Longer than it takes to start all of the processes.
        return {"at_once": on_cluster(hosts, Search(80, 20.0, ADDRESS, 64))["at_once"]}


def overhead() -> dict[str, Any]:
    with Hosts() as hosts:
        start(hosts, 2, cpus=1)
        cluster = [on_cluster(hosts, Search(trials, 0.0, ADDRESS, 2)) for trials in (100, 1000)]
    with tempfile.TemporaryDirectory() as home:
        environment, local = os.environ | {"HOME": home}, []
        for trials in (100, 1000):
            line = command(Search(trials, 0.0, None, 2))
            done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
            local.append(result(done))
    seconds = {
        name: (long["seconds"] - short["seconds"]) / 900
        for name, (short, long) in {"cluster": cluster, "local": local}.items()
    }
    return {
        "seconds_a_trial": {name: round(value, 4) for name, value in seconds.items()},
        "overhead_of_local": round(seconds["cluster"] / seconds["local"], 2),
        "driver_kb_a_trial": round((cluster[1]["private_kb"] - cluster[0]["private_kb"]) / 900, 1),
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"linear": linear, "many": many_at_once, "overhead": overhead}


def start(hosts: Hosts, workers: int, cpus: int) -> None:
    hosts.start_head()
    for number in range(1, workers + 1):
        hosts.start_worker(number, f"--num-cpus={cpus}")


def command(asked: Search) -> list[str]:
    return [sys.executable, "-m", "benchmarks.cluster_scale", "--drive", json.dumps(asdict(asked))]


def on_cluster(hosts: Hosts, asked: Search) -> dict[str, float]:
    return result(hosts.run("head", command(asked), timeout=1800))


def result(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
