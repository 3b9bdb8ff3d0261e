"""Claim: what the driver does for a trial costs at 10,000 trials at most 1.5 times what it costs at 100.

A run whose study knows so many trials, each with its reports at the rungs and its place in them. Measured are
trials after those: drawn, reported three times, decided at rungs, told, kept and recorded, by the parts that
search.tuning.tune joins, without Ray and without training. Also how long a resume needs to open such a run, and what
the tables at its end take.

`--folder` keeps the studies: to make them takes longer than to measure.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.machine import cpu_name
from hybridtune.models.training.progress import Progress
from hybridtune.search.run.curves import append_curve_point
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Progressed
from hybridtune.search.study.rungs import SuccessiveHalving, decided_rungs, rung_iterations
from hybridtune.search.study.stopping import StoppingRule
from hybridtune.search.study.study import ask, create_study, report_value, started, tell
from hybridtune.search.study.trials_table import write_tables
from hybridtune.search.tuning.recorder import Recorder
from hybridtune.search.tuning.searcher import StudySearcher
from hybridtune.search.workers.trainable import TrialTask
from hybridtune.spaces.hybrid import HYBRID

KNOWN = (100, 1_000, 10_000)
REPORTS, GRACE, REDUCTION = 9, 1, 3
CLAIM, CLAIM_RESUME_SECONDS = 1.5, 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--known", type=int, nargs="+", default=list(KNOWN))
    parser.add_argument("--trials", type=int, default=20, help="that are measured")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        arms = {known: measure(given.folder or Path(temporary), known, given.trials) for known in given.known}
    growth = arms[max(arms)]["driver_seconds"] / arms[min(arms)]["driver_seconds"]
    resume = arms[max(arms)]["resume_seconds"]
    result = {"arms": arms, "growth": round(growth, 2), "claims": {"growth": CLAIM, "resume": CLAIM_RESUME_SECONDS}}
    holds = growth <= CLAIM and resume <= CLAIM_RESUME_SECONDS
    print(json.dumps({"benchmark": "driver_growth", "machine": {"cpu": cpu_name()}, **result, "holds": holds}))


def measure(folder: Path, known: int, trials: int) -> dict[str, float]:
    run = made(folder / f"run-{known}", known)
    began = time.perf_counter()
    driver = Driver(run, known + 10 * trials)
    resume = time.perf_counter() - began
    lives = [timed(driver) for _ in range(trials)]
    began = time.perf_counter()
    write_tables(run, driver.study)
    return {
        "driver_seconds": round(statistics.median(lives), 4),
        "longest": round(max(lives), 4),
        "resume_seconds": round(resume, 2),
        "tables_seconds": round(time.perf_counter() - began, 2),
        "study_mb": round(run.study.stat().st_size / 2**20, 1),
    }


def timed(driver: "Driver") -> float:
    began = time.perf_counter()
    driver.one_trial()
    return time.perf_counter() - began


class Driver:
    """What works on a search in the driver's process, as search.tuning.tune joins it."""

    def __init__(self, run: RunDir, trials: int) -> None:
        self.study = create_study(run, HYBRID, "tune_loss")
        rungs = rung_iterations(GRACE, REDUCTION, REPORTS)
        self._halving = SuccessiveHalving(decided_rungs(started(self.study), rungs), REDUCTION, maximize=False)
        stopping = StoppingRule(self.study, None, None)
        self._searcher = StudySearcher(
            self.study, HYBRID, trials, lambda: 2, 0, self._halving, enough=lambda: stopping.reached() is not None
        )
        self._recorder = Recorder(run, self.study, trials, rungs, stopping, lambda text: None, self._halving, lambda: 2)
        self._chance = np.random.default_rng(0)

    def one_trial(self) -> None:
        config = self._searcher.suggest("one")
        assert isinstance(config, dict)
        task = TrialTask.from_tune(config)
        self._recorder.started(task)
        for report in reports(float(self._chance.normal())):
            goes_on = self._halving.passes(task.number, report.progress.iteration, report.progress.decisive)
            if report.finished or not goes_on:
                self._searcher.on_trial_complete("one", report.to_tune())
                self._recorder.progressed(task, report)
                self._recorder.ended(task, report)
                return
            self._searcher.on_trial_result("one", report.to_tune())
            self._recorder.progressed(task, report)


def reports(level: float) -> Iterator[Progressed]:
    """Of a trial that was never stopped."""
    for iteration in range(1, REPORTS + 1):
        value = 0.65 + level / 100 - iteration / 1000
        progress = Progress(iteration, iteration, value, value, 0.5, value, seconds=0.0, micro_batch=64)
        yield Progressed(progress, iteration == REPORTS, "nothing")


def made(path: Path, known: int) -> RunDir:
    """A run whose search has come so far."""
    if path.exists():
        return RunDir.open(path)
    settings = Settings(
        dataset=path, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference, iterations=REPORTS
    )
    run = RunDir.create(path, settings, "none")
    study = create_study(run, HYBRID, "tune_loss")
    halving = SuccessiveHalving({rung: {} for rung in rung_iterations(GRACE, REDUCTION, REPORTS)}, REDUCTION, False)
    chance = np.random.default_rng(1)
    for _ in range(known):
        trial = ask(study, HYBRID, seed=0, sampler="random")
        for report in reports(float(chance.normal())):
            report_value(trial, report.progress.iteration, report.progress.decisive)
            append_curve_point(run.curve_log, trial.number, report.progress)
            if not halving.passes(trial.number, report.progress.iteration, report.progress.decisive):
                tell(study, trial, TrialState.PRUNED)
                break
        else:
            tell(study, trial, TrialState.COMPLETE, report.progress.decisive)
    return run


if __name__ == "__main__":
    main()
