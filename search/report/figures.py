"""The report's plots. Pure: what a run stored in, figures out."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import qualitative
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from hybridtune.search.finalists.ensemble import EnsembleDocument
from hybridtune.search.finalists.members import MemberDocument
from hybridtune.search.finalists.predictions import ENSEMBLE, StoredPredictions
from hybridtune.search.report.comparison import Comparison

GREY = "#8a97a5"
BINS = 10
"""Of the calibration plot, each with the same number of anchors: most probabilities lie close together."""
SHARES = np.linspace(0.05, 1.0, 20)
"""Of anchors, the surest first."""
POINTS = 200
"""A ROC curve is drawn through at most so many."""
FEWEST_FOR_IMPORTANCE = 10
SLICE_WIDTH = 200
COLOURS = qualitative.D3


def auc_by_horizon(comparison: Comparison) -> go.Figure:
    figure = go.Figure()
    names = [str(horizon) for horizon in comparison.horizons]
    for row in comparison.rows.values():
        values = list(row.scores.values())
        aucs = [score.metrics.auc for score in values]
        bars = {
            "type": "data",
            "array": [s.auc_high - (s.metrics.auc or 0) for s in values],
            "arrayminus": [(s.metrics.auc or 0) - s.auc_low for s in values],
        }
        figure.add_scatter(x=names, y=aucs, name=row.title, mode="markers", error_y=bars)
    every = [score for row in comparison.rows.values() for score in row.scores.values()]
    shown = [0.5, *(v for s in every for v in (s.auc_low, s.auc_high, s.metrics.auc) if v is not None)]
    margin = 0.02
    figure.add_hline(y=0.5, line_dash="dot", annotation_text="coin")
    figure.update_layout(
        xaxis_title="horizon in minutes",
        yaxis={"title": "AUC", "range": [np.nanmin(shown) - margin, np.nanmax(shown) + margin]},
        scattermode="group",
    )
    return figure


def member_curves(members: Iterable[MemberDocument], metric: str) -> go.Figure:
    """The retrained members' histories, a line each."""
    lines = {m.id: ([p.iteration for p in m.curve], [getattr(p, metric) for p in m.curve]) for m in members}
    return _lines(lines, "iteration", metric.replace("_", " "))


def roc(test: StoredPredictions) -> go.Figure:
    """Of the ensemble, a curve a horizon."""
    lines = {}
    for horizon, p, y in _known(test):
        if 0 < y.mean() < 1:
            false_up, true_up, _ = roc_curve(y, p)
            thin = np.unique(np.linspace(0, len(true_up) - 1, POINTS).astype(int))
            lines[f"{horizon} min"] = false_up[thin], true_up[thin]
    figure = _lines(lines, "false positive rate", "true positive rate (up)", mode="lines")
    return _with_diagonal(figure, "coin")


def calibration(test: StoredPredictions) -> go.Figure:
    """Of the ensemble: share of up labels by predicted probability."""
    lines = {}
    for horizon, p, y in _known(test):
        if len(y) >= BINS:
            up_share, p_mean = calibration_curve(y, p, n_bins=BINS, strategy="quantile")
            lines[f"{horizon} min"] = p_mean, up_share
    return _with_diagonal(_lines(lines, "probability of up", "share of up labels"), "calibrated")


def confidence(test: StoredPredictions) -> go.Figure:
    """Of the ensemble: how often it is right when only its surest calls are followed."""
    lines = {}
    for horizon, p, y in _known(test):
        right = ((p > 0.5) == (y == 1))[np.argsort(-np.abs(p - 0.5), kind="stable")]
        counts = np.unique(np.ceil(SHARES * len(right)).astype(int))
        lines[f"{horizon} min"] = counts / len(right), np.cumsum(right)[counts - 1] / counts
    figure = _lines(lines, "share of anchors followed, the surest first", "share of calls that are right")
    return figure.update_xaxes(tickformat=".0%").update_yaxes(tickformat=".0%")


def blend_weights(ensemble: EnsembleDocument) -> go.Figure:
    """Every member's share at each horizon, stacked to one."""
    figure = go.Figure()
    names = [f"{horizon} min" for horizon in ensemble.horizons]
    for member, weights in ensemble.methods[ensemble.method].weights.items():
        figure.add_bar(x=names, y=weights, name=f"{member} ({ensemble.members[member]})")
    return figure.update_layout(barmode="stack", yaxis={"title": "weight", "tickformat": ".0%"})


def of_the_search(study: optuna.Study, completed: int) -> dict[str, go.Figure]:
    """Optuna's own plots; those that compare completed trials need two that differ."""
    plots = optuna.visualization
    figures = {
        "Optimisation history": plots.plot_optimization_history(study),
        "Rungs: every trial until it was stopped or complete": plots.plot_intermediate_values(study),
    }
    # A dimension that has one value among them shows nothing.
    varied = sorted(name for name, values in _values(study).items() if len(values) > 1)
    if varied:
        figures |= {
            "Parallel coordinates": plots.plot_parallel_coordinate(study, varied),
            "Slices": plots.plot_slice(study, varied).update_layout(width=SLICE_WIDTH * len(varied)),
        }
    if (importances := importance(study, completed)) is not None:
        figures["Importance of each dimension"] = _bars(importances)
    return figures


def _values(study: optuna.Study) -> dict[str, set[Any]]:
    """Of the completed trials: dimension -> the values it had."""
    values: dict[str, set[Any]] = {}
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return values


def importance(study: optuna.Study, completed: int) -> dict[str, float] | None:
    """PED-ANOVA (Watanabe et al. 2023) over completed trials; None with too few for it to mean anything."""
    if completed < FEWEST_FOR_IMPORTANCE:
        return None
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _bars(values: dict[str, float]) -> go.Figure:
    figure = go.Figure(go.Bar(x=list(values.values()), y=list(values), orientation="h"))
    return figure.update_layout(xaxis_title="share of what the dimensions explain", yaxis={"autorange": "reversed"})


def _known(test: StoredPredictions) -> Iterable[tuple[int, NDArray[Any], NDArray[Any]]]:
    for horizon in test.horizons:
        known = test.known(horizon)
        if len(known.frame):
            yield horizon, known.p_A(ENSEMBLE, horizon), known.label_A(horizon)


def _lines(lines: dict[str, tuple[Any, Any]], x: str, y: str, mode: str = "lines+markers") -> go.Figure:
    figure = go.Figure()
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        figure.add_scatter(x=xs, y=ys, name=name, mode=mode, line={"color": COLOURS[number % len(COLOURS)]})
    return figure.update_layout(xaxis_title=x, yaxis_title=y)


def _with_diagonal(figure: go.Figure, name: str) -> go.Figure:
    return figure.add_scatter(x=[0, 1], y=[0, 1], name=name, mode="lines", line={"dash": "dot", "color": GREY})
