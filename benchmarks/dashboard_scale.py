"""Claims: the dashboard of a search of 1,000 trials of 100 iterations is painted within 2 s, and shows a trial that has
ended within 1 s; watching costs the search less than 1%.

The study is made beforehand. `hybridtune dashboard` serves it, a real browser (chromium) opens it. Then trials end one
after another, by what the search itself would write. Half of them are timed: the page is asked every 20 ms whether it
shows them. What watching costs is the dashboard's CPU time while the other half do, one a second, with nothing but the
page looking, as a share of this machine: a search that keeps every core busy is slowed by so much.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial
from selenium import webdriver

from benchmarks.browser import browser
from benchmarks.machine import cpu_name, rollup_kb
from hybridtune.search.cluster.maps import cores
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.study import STUDY_NAME, create_study, study_url
from hybridtune.spaces.hybrid import HYBRID

HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
RUNNING = 40
CLAIMS = {"first_paint": 2.0, "update": 1.0, "share_of_machine": 0.01}
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=100)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir.create(Path(folder) / "run", settings(folder, given.trials, given.iterations), "none")
        create_study(run, HYBRID, "tune_loss")
        study = optuna.load_study(storage=study_url(run), study_name=STUDY_NAME)
        fill(study, given.trials, given.iterations)
        # As if a process worked on it: one that nobody works on would be shown as stopped.
        with run.lock():
            found = watched(run, study)
    holds = {name: found[name] <= claim for name, claim in CLAIMS.items()}
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "dashboard_scale", "machine": machine, **found, "claims": CLAIMS, "holds": holds}))


def settings(folder: str, trials: int, iterations: int) -> Settings:
    return Settings(
        dataset=Path(folder),
        dimensions=dict(HYBRID.dimensions),
        reference=HYBRID.reference,
        trials=trials,
        iterations=iterations,
        sampler="random",
    )


def fill(study: optuna.Study, trials: int, iterations: int) -> None:
    """All as long as can be: the most that there is to read. The last few are under way."""
    params = HYBRID.default()
    distributions = {name: distribution(HYBRID.dimensions[name]) for name in params}
    for number in range(trials):
        curve = {step: 0.69 - step / 1000 + number / 1e5 for step in range(1, iterations + 1)}
        running = number >= trials - RUNNING
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING if running else TrialState.COMPLETE,
                params=params | {"learning_rate": 1e-4 + number / 2e6},
                distributions=distributions,
                value=None if running else curve[iterations],
                intermediate_values=curve,
                user_attrs={"host": f"10.0.0.{number % 8}", "runs_on": "cuda in bf16"},
            )
        )


def watched(run: RunDir, study: optuna.Study) -> dict[str, Any]:
    command = [HYBRIDTUNE, "dashboard", str(run.path), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split("dashboard: ")[1].strip()
            with browser() as page:
                began = time.monotonic()
                page.get(address)
                first_paint = time.monotonic() - began
                wait_for(page, "running", RUNNING)
                updates = [update(page, study, number) for number in range(RUNNING // 2)]
                cpu = cpu_seconds(server.pid)
                began = time.monotonic()
                for number in range(RUNNING // 2, RUNNING):
                    end_one(study, number)
                    time.sleep(1.0)
                share = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - began) / cores()
                wait_for(page, "running", 0)
            memory = rollup_kb(server.pid, "Pss")
        finally:
            server.terminate()
    return {
        "first_paint": round(first_paint, 2),
        "update": round(max(updates), 2),
        "update_median": round(statistics.median(updates), 2),
        "share_of_machine": round(share, 4),
        "server_mb": round(memory / 1024),
    }


def update(page: webdriver.Chrome, study: optuna.Study, number: int) -> float:
    """Seconds until the page shows that one more trial has ended. number: how many have before it."""
    began = end_one(study, number)
    wait_for(page, "running", RUNNING - number - 1)
    seconds = time.monotonic() - began
    time.sleep(max(0.0, 1.0 - seconds))
    return seconds


def end_one(study: optuna.Study, number: int) -> float:
    """When it was told. number: how many have ended before it."""
    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    assert len(running) == RUNNING - number
    began = time.monotonic()
    study.tell(running[0].number, 0.6)
    return began


def wait_for(page: webdriver.Chrome, state: str, count: int) -> None:
    until = time.monotonic() + 60
    shown = f"return document.getElementById('{state}').innerText"
    while page.execute_script(shown) != str(count):
        if time.monotonic() > until:
            raise RuntimeError(f"the page shows {page.execute_script(shown)} {state}, not {count}")
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
