"""Claim: a trial that trains nothing costs our search at most 0.12 s and no more than stock Tune with reused workers.

Every arm runs the same 100 trials of three reports each, two at a time, on a Ray of its own, with a study in SQLite and
ASHA with the same rungs:

- ours: search.tuning.searcher, .scheduler and .recorder, as search.tuning.tune joins them;
- stock_reused: Tune's OptunaSearch and ASHAScheduler, workers reused, study in SQLite;
- stock: the same with a worker for each trial, Tune's default.

Also the time that a sampler needs to draw a trial when the study has 500, alone and with that trial's record in
study.db: at most 20 ms for TPE in the median, and for the sampler on latest values in 95 of 100 draws, alone.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from benchmarks.machine import cpu_name
from hybridtune.models.training.progress import Progress
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.maps import cores
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.trial_report import Progressed
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.rungs import SuccessiveHalving, rung_iterations
from hybridtune.search.study.stopping import StoppingRule
from hybridtune.search.study.storage import StudyMemory
from hybridtune.search.study.study import ask, create_study, tell
from hybridtune.search.tuning.recorder import Recorder
from hybridtune.search.tuning.scheduler import Asha
from hybridtune.search.tuning.searcher import StudySearcher
from hybridtune.search.tuning.tune import trial_folder
from hybridtune.search.workers.callback import TrainingCallback
from hybridtune.search.workers.tasks import run_tasks
from hybridtune.search.workers.trainable import TrialTask, report_to_tune
from hybridtune.spaces.hybrid import HYBRID

REPORTS, GRACE, REDUCTION, WORKERS = 3, 1, 3, 2
CLAIM_SECONDS, CLAIM_SAMPLER_MS = 0.12, 20.0
KNOWN_TRIALS, DRAWS = 500, 60
SAMPLERS = ("tpe", "latest")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    trials = parser.parse_args().trials
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arms = {name: seconds_per_trial(arm, trials) for name, arm in ARMS.items()}
    draws = {sampler: draw_ms(sampler) for sampler in SAMPLERS}
    print(
        json.dumps(
            {
                "benchmark": "search_overhead",
                "machine": {"cpu": cpu_name(), "cores": cores()},
                "trials": trials,
                "seconds_per_trial": arms,
                f"draw_ms_at_{KNOWN_TRIALS}": draws,
                "claims": {"seconds_per_trial": CLAIM_SECONDS, "sampler_ms": CLAIM_SAMPLER_MS},
                "holds": {
                    "seconds_per_trial": arms["ours"] <= min(CLAIM_SECONDS, arms["stock_reused"]),
                    "tpe_ms": draws["tpe"]["alone"]["median"] <= CLAIM_SAMPLER_MS,
                    "latest_ms": draws["latest"]["alone"]["95%"] <= CLAIM_SAMPLER_MS,
                },
            }
        )
    )


def seconds_per_trial(arm: Callable[[Path, int], None], trials: int) -> float:
    """Without the start of Ray and of its first workers: the difference of a long and a short search."""
    seconds = []
    for count in (WORKERS, WORKERS + trials):
        with tempfile.TemporaryDirectory() as folder, local_ray(WORKERS):
            started = time.monotonic()
            arm(Path(folder), count)
            seconds.append(time.monotonic() - started)
    return round((seconds[1] - seconds[0]) / trials, 4)


def ours(folder: Path, trials: int) -> None:
    dimensions = dict(HYBRID.dimensions)
    settings = Settings(
        dataset=folder,
        dimensions=dimensions,
        reference=HYBRID.reference,
        trials=trials,
        iterations=REPORTS,
        concurrent=WORKERS,
    )
    run = RunDir.create(folder / "run", settings, "none")
    study = create_study(run, HYBRID, "tune_loss")
    rungs = rung_iterations(GRACE, REDUCTION, REPORTS)
    halving = SuccessiveHalving({rung: {} for rung in rungs}, REDUCTION, maximize=False)
    searcher = StudySearcher(study, HYBRID, trials, lambda: WORKERS, 0, halving)

    def say(text: str) -> None:
        """Words cost nothing here."""

    recorder = Recorder(run, study, trials, rungs, StoppingRule(study, None, None), say, halving, lambda: WORKERS)
    callback = TrainingCallback(TrialTask.from_tune, searcher, recorder, settings, OwnWorkers(), run.keeper, say)
    run_tasks(null_trial, searcher, callback, run.path / "tune", trial_folder, scheduler=Asha(halving))
    assert sum(trial.state.is_finished() for trial in study.get_trials()) == trials


def stock(folder: Path, trials: int, reuse: bool = False) -> None:
    space = {name: distribution(dimension) for name, dimension in HYBRID.dimensions.items()}
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
    search = OptunaSearch(space=space, metric="objective", mode="min", storage=storage, study_name="stock")
    tune.run(
        null_stock_trial,
        name="tune",
        storage_path=str(folder),
        resources_per_trial={"cpu": 1},
        num_samples=trials,
        search_alg=ConcurrencyLimiter(search, WORKERS),
        scheduler=ASHAScheduler(
            metric="objective", mode="min", grace_period=GRACE, reduction_factor=REDUCTION, max_t=REPORTS
        ),
        reuse_actors=reuse,
        verbose=0,
    )


def stock_reused(folder: Path, trials: int) -> None:
    stock(folder, trials, reuse=True)


ARMS = {"ours": ours, "stock_reused": stock_reused, "stock": stock}


def null_trial(config: dict[str, Any]) -> None:
    """Reports what a training would: numbers that make every other trial a bad one."""
    for iteration in range(1, REPORTS + 1):
        value = 0.6 + config["number"] % 2 / 10 - iteration / 1000
        progress = Progress(iteration, iteration, value, value, 0.5, value, seconds=0.0, micro_batch=1)
        report_to_tune(Progressed(progress, iteration == REPORTS, "nothing"))


def null_stock_trial(config: dict[str, Any]) -> None:
    for iteration in range(1, REPORTS + 1):
        tune.report({"objective": config["dropout"] - iteration / 1000})


def draw_ms(sampler: str) -> dict[str, dict[str, float]]:
    """Of some draws: the draw alone, and with its record in study.db."""
    with tempfile.TemporaryDirectory() as folder:
        studies = {
            "alone": optuna.create_study(storage=StudyMemory()),
            "with_record": create_study(RunDir(Path(folder)), HYBRID, "tune_loss"),
        }
        return {name: _draws_ms(study, sampler) for name, study in studies.items()}


def _draws_ms(study: optuna.Study, sampler: str) -> dict[str, float]:
    for number in range(KNOWN_TRIALS):
        known = ask(study, HYBRID, seed=0, sampler="random")
        tell(study, known, TrialState.COMPLETE, 0.6 + number % 7 / 100)
    draws = []
    for _ in range(DRAWS):
        started = time.perf_counter()
        trial = ask(study, HYBRID, seed=0, sampler=sampler)
        draws.append(time.perf_counter() - started)
        tell(study, trial, TrialState.COMPLETE, 0.6)
    latest = statistics.quantiles(draws, n=20)[-1]
    return {"median": round(1000 * statistics.median(draws), 1), "95%": round(1000 * latest, 1)}


if __name__ == "__main__":
    main()
