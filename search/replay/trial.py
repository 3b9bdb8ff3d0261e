"""A trial of a run trained once more, in this process, and held against the curve that it left."""

from dataclasses import dataclass

import pandas as pd

from hybridtune.data.schema import InputError
from hybridtune.search.cluster.shared_dataset import SharedDataset
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import config_of, open_study, started
from hybridtune.search.workers.trainable import TrainingContext, folded_training

COMPARED = ("train_loss", "tune_loss", "tune_auc")
TOLERANCE = 1e-6


class ReplayDiffersError(RuntimeError):
    """The curve is another one, on the same kind of hardware."""


@dataclass(frozen=True)
class Replay:
    iterations: int
    largest_difference: float
    """Over COMPARED and all iterations."""
    ran_on: str
    runs_on: str


def replay(run: RunDir, number: int, say: Say) -> Replay:
    """Changes nothing in the run. Raises InputError if it has no such trial or that never reported, ReplayDiffersError
    if the curve differs by more than TOLERANCE though device and precision are the same.
    """
    trial = next((trial for trial in started(open_study(run)) if trial.number == number), None)
    if trial is None:
        raise InputError(f"{run.path} has no trial {number}: trials.parquet lists those that it has")
    curves = read_curves(run.curve_log)
    curve = curves[curves["trial"] == number].reset_index(drop=True)
    if curve.empty:
        raise InputError(f"trial {number} of {run.path} never reported: there is nothing to compare with")
    settings = run.document().settings
    dataset = run.open_dataset()
    shared = SharedDataset(settings.dataset, dataset.info.horizons)
    context = TrainingContext(run, shared, settings.budget, settings.hardware, ()).with_micro_batch(
        trial.user_attrs["micro_batch"]
    )
    training = folded_training(context, config_of(trial), settings.seed)
    rows = []
    for iteration, recorded in enumerate(curve.itertuples(), start=1):
        progress = training.run_iteration()
        rows.append([abs(getattr(progress, name) - getattr(recorded, name)) for name in COMPARED])
        say(f"iteration {iteration} of {len(curve)}: tune_loss {progress.tune_loss:.6f}, then {recorded.tune_loss:.6f}")
    largest = float(pd.DataFrame(rows).to_numpy().max())
    replayed = Replay(len(curve), largest, trial.user_attrs["runs_on"], training.runs_on)
    if largest > TOLERANCE and replayed.ran_on == replayed.runs_on:
        raise ReplayDiffersError(f"trial {number} differs from its curve by {largest:.2g} on {replayed.runs_on}")
    return replayed
