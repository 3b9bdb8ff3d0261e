"""report/: index.html, a page that opens without a server or a network, the library that draws its plots, and its
tables as CSV.
"""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from hybridtune.data.document import write_atomically
from hybridtune.models.bundle.attention import attentive_member
from hybridtune.models.metrics import mean_metric
from hybridtune.search.dashboard.render import render
from hybridtune.search.finalists.ensemble import EnsembleDocument, blended_members
from hybridtune.search.finalists.members import load_member
from hybridtune.search.finalists.predictions import BASE_RATE, StoredPredictions
from hybridtune.search.report import figures
from hybridtune.search.report.attention_plot import attention_figure
from hybridtune.search.report.comparison import Comparison, compare, finished
from hybridtune.search.report.recommend import recommendations
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import WAITING, best_first, open_study
from hybridtune.search.study.trials_table import trials_table
from hybridtune.spaces.parameters import Config

MEASURES = {
    "log_loss": "log loss, nats",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
PLOTLY = "plotly.min.js"
"""Beside the page, of which it would be nine tenths."""
PARTS = ("tune", "blend", "test")


def write_report(run: RunDir, oracle: Path | None = None) -> Comparison:
    comparison = compare(run, oracle)
    document = run.document()
    study = open_study(run)
    ensemble = finished(run)
    # Of now, as the study is: the tables are written when a search has ended, and this one may be under way again.
    curves = read_curves(run.curve_log)
    trials = _ranked(trials_table(study, curves), study)
    stored = StoredPredictions.read(run, ensemble.horizons)
    trained = blended_members(run, ensemble)
    page = render(
        __package__,
        "report.html",
        comparison=comparison,
        base_rate=comparison.rows[BASE_RATE],
        recommendations=recommendations(comparison, trained, trials, curves, stored),
        document=document,
        ensemble=ensemble,
        dataset=run.open_dataset().info,
        states=trials["state"].value_counts().to_dict(),
        cost=_cost(trials, document.settings.iterations),
        best=_best(trials),
        plotly=PLOTLY,
        measures=MEASURES,
        mean_metric=mean_metric,
        results=_html(_result_figures(comparison, ensemble, stored.slice("test"))),
        training=_html({"Members: loss on tune": figures.member_curves(trained, "tune_loss")}),
        search=_html(figures.of_the_search(study, int((trials["state"] == "complete").sum()))),
        attention=_attention(run, ensemble),
    )
    run.report.parent.mkdir(exist_ok=True)
    for name, table in _csv_tables(comparison, ensemble).items():
        write_atomically(run.report.parent / f"{name}.csv", table.to_csv(index=False).encode())
    write_atomically(run.report.with_name(PLOTLY), get_plotlyjs().encode())
    write_atomically(run.report, page.encode())
    return comparison


def _ranked(trials: pd.DataFrame, study: optuna.Study) -> pd.DataFrame:
    """With `rank`: 0 for the best of the complete trials."""
    ranks = {trial.number: rank for rank, trial in enumerate(best_first(study))}
    return trials.assign(rank=trials["trial"].map(ranks))


def _result_figures(
    comparison: Comparison, ensemble: EnsembleDocument, test: StoredPredictions
) -> dict[str, go.Figure]:
    return {
        "AUC by horizon": figures.auc_by_horizon(comparison),
        "ROC of the ensemble": figures.roc(test),
        "Calibration of the ensemble": figures.calibration(test),
        "Confidence of the ensemble": figures.confidence(test),
        "Weights of the members": figures.blend_weights(ensemble),
    }


def _cost(trials: pd.DataFrame, iterations: int) -> dict[str, float]:
    """hours: of training, all trials together; early: share of the trials that were stopped, or wait at a rung; saved:
    share of the iterations of full training that this left out.
    """
    stopped = trials["state"].isin(("pruned", WAITING))
    wanted = iterations * len(trials)
    return {
        "hours": float(trials["seconds"].sum() / 3600),
        "early": float(stopped.mean()),
        "saved": float((iterations - trials.loc[stopped, "iterations"]).sum() / wanted),
    }


def _attention(run: RunDir, ensemble: EnsembleDocument) -> dict[str, Any] | None:
    """The attention of the heaviest member that has some, at the last anchor of the blend slice."""
    weights = ensemble.methods[ensemble.method].weights
    trained = sorted(blended_members(run, ensemble), key=lambda m: -float(np.mean(weights[m.id])))
    dataset = run.open_dataset()
    anchors = dataset.frozen_anchors("blend")
    series, minute = int(anchors.series_A[-1]), int(anchors.minute_A[-1])
    for member in trained:
        attentive = attentive_member(
            member.id, member.architecture, float(np.mean(weights[member.id])), load_member(run, member)
        )
        if attentive is not None:
            x_TF = dataset.x_TF(series)[: minute + 1]
            attention = attentive.attend_at(x_TF, minute)
            price_T = np.exp(x_TF[:, dataset.info.features.index("since_launch")].astype(np.float64))
            figure = attention_figure(price_T, attention, attentive.windows, "price, in launch prices")
            return {
                "member": attentive,
                "series": dataset.series.name_M[series],
                "minute": minute,
                "figure": _fragment(figure),
            }
    return None


def _csv_tables(comparison: Comparison, ensemble: EnsembleDocument) -> dict[str, pd.DataFrame]:
    scores = [
        {"prediction": row.title, "horizon": horizon}
        | {name: value for name, value in vars(score).items() if name != "metrics"}
        | vars(score.metrics)
        for row in comparison.rows.values()
        for horizon, score in row.scores.items()
    ]
    finalists: list[dict[str, Any]] = [
        {"member": f.id, "origin": f.origin, "architecture": f.architecture}
        | {f"log_loss_{part}": value for part, value in zip(PARTS, f.log_losses, strict=True)}
        | {f"auc_{part}": value for part, value in zip(PARTS, f.aucs, strict=True)}
        | {f"auc_test_{h}": m.auc for h, m in zip(comparison.horizons, f.test, strict=True)}
        for f in comparison.finalists
    ]
    weights = [
        {"member": member, "horizon": horizon, "weight": weight}
        for member, row in ensemble.methods[ensemble.method].weights.items()
        for horizon, weight in zip(ensemble.horizons, row, strict=True)
    ]
    gains = [
        {"over": over} | vars(gain) | {"horizons": "/".join(map(str, gain.horizons))}
        for over, gain in comparison.gains.items()
    ]
    return {
        "test_scores": pd.DataFrame(scores),
        "finalists": pd.DataFrame(finalists),
        "weights": pd.DataFrame(weights),
        "gains": pd.DataFrame(gains),
    }


def _best(trials: pd.DataFrame) -> Config:
    best = trials[trials["rank"] == 0].iloc[0]
    config = best[[name for name in trials.columns if name.startswith("config.")]].dropna()
    return {str(name).removeprefix("config."): value for name, value in config.items()}


def _html(drawn: dict[str, go.Figure]) -> dict[str, str]:
    return {
        title: _fragment(figure.update_layout(title=None, template="plotly_white", height=420, margin={"t": 20}))
        for title, figure in drawn.items()
    }


def _fragment(figure: go.Figure) -> str:
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    )
