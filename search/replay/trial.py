"""A trial of a run trained once more, in this process, and held against the curve that it left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hybridtune.data.schema import InputError
from hybridtune.models.training.config import TrainConfig
from hybridtune.search.cluster.shared_dataset import share_dataset
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import config_of, open_study, started
from hybridtune.search.workers.trainable import TrainingContext, folded_training
from hybridtune.spaces.parameters import Config

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
    fell_in: int | None
    """The iteration in which the trial ran out of memory and went on with a smaller micro-batch. From there on dropout
    met other values, so a difference is to be expected.
    """


def replay(run: RunDir, number: int, say: Say) -> Replay:
    """Changes nothing in the run. Raises InputError if it has no such trial or that never reported, ReplayDiffersError
    if the curve differs by more than TOLERANCE though device and precision are the same.
    """
    trial = next((trial for trial in started(open_study(run)) if trial.number == number), None)
    if trial is None:
        raise InputError(f"{run.name} has no trial {number}: trials.parquet lists those that it has")
    curves = read_curves(run.curve_log)
    curve = curves[curves["trial"] == number].reset_index(drop=True)
    if curve.empty:
        raise InputError(f"trial {number} of {run.name} never reported: there is nothing to compare with")
    settings = run.document().settings
    # Not by the settings' path, which is one of the host that launched the run.
    shared = share_dataset(run.open_dataset(), other_hosts=False)
    context = TrainingContext(run.place, shared, settings.budget, settings.hardware, ())
    fell_in = first_fall(curve["micro_batch"].tolist(), _batch(config_of(trial), settings.micro_batch))
    training = folded_training(context, config_of(trial), settings.seed)
    rows = []
    for iteration, recorded in enumerate(curve.itertuples(), start=1):
        progress = training.run_iteration()
        rows.append([abs(getattr(progress, name) - getattr(recorded, name)) for name in COMPARED])
        say(f"iteration {iteration} of {len(curve)}: tune_loss {progress.tune_loss:.6f}, then {recorded.tune_loss:.6f}")
    largest = float(pd.DataFrame(rows).to_numpy().max())
    replayed = Replay(len(curve), largest, trial.user_attrs["runs_on"], training.runs_on, fell_in)
    exact = rows if fell_in is None else rows[: fell_in - 1]
    if np.max(exact, initial=0.0) > TOLERANCE and replayed.ran_on == replayed.runs_on:
        raise ReplayDiffersError(f"trial {number} differs from its curve by {largest:.2g} on {replayed.runs_on}")
    return replayed


def first_fall(micro_batches: Sequence[int], begun: int) -> int | None:
    """The first iteration that ended with fewer anchors at a time than it began with; begun: by the first one."""
    before = (begun, *micro_batches)
    return next((i for i, now in enumerate(micro_batches, start=1) if now < before[i - 1]), None)


def _batch(params: Config, micro_batch: int | None) -> int:
    batch = int(params.get("batch_size", TrainConfig.batch_size))
    return min(micro_batch or batch, batch)
