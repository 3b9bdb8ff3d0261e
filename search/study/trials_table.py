"""The search as tables: curves.parquet and trials.parquet."""

from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from hybridtune.data.document import new_file
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import objective_of, started, state_of


def trials_table(study: optuna.Study, curves: pd.DataFrame) -> pd.DataFrame:
    totals = curves.groupby("trial").agg({"iteration": "max", "samples": "max", "seconds": "sum"})
    spent = {trial: dict(row) for trial, row in zip(totals.index, totals.to_dict(orient="records"), strict=True)}
    table = pd.DataFrame([_trial_row(trial, spent) for trial in started(study)])
    # A dimension that a trial does not have leaves a gap, which must not make floats of whole numbers.
    gaps = [name for name in table.columns if name.startswith("config.") and table[name].isna().any()]
    return table.astype({name: table[name].convert_dtypes().dtype for name in gaps})


def write_tables(run: RunDir, study: optuna.Study) -> None:
    curves = read_curves(run.curve_log)
    for path, table in ((run.curves, curves), (run.trials, trials_table(study, curves))):
        with new_file(path) as file:
            table.to_parquet(file, index=False)


def _trial_row(trial: FrozenTrial, spent: dict[int, dict[Any, Any]]) -> dict[str, Any]:
    used = spent.get(trial.number, {"iteration": 0, "samples": 0, "seconds": 0.0})
    return {
        "trial": trial.number,
        "state": state_of(trial),
        "iterations": used["iteration"],
        "samples": used["samples"],
        "objective": objective_of(trial),
        "seconds": used["seconds"],
        "retries": trial.user_attrs.get("retries", 0),
        "hosts_lost": trial.user_attrs.get("hosts_lost", 0),
        "failure": trial.user_attrs.get("failure"),
        "runs_on": trial.user_attrs.get("runs_on"),
        "host": trial.user_attrs.get("host"),
        "micro_batch": trial.user_attrs.get("micro_batch"),
    } | {f"config.{name}": value for name, value in trial.params.items()}
