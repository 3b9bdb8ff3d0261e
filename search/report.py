"""report/index.html: one page that opens without a server or a network; and the same table for a terminal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs
from rich.table import Table

from data.document import write_atomically
from data.schema import InputError
from models.metrics import HorizonMetrics, mean_auc, mean_metric
from search.blend import EnsembleDocument
from search.run_dir import RunDir, RunDocument
from search.scores import FEWEST_SERIES, ORACLE, Score, constant_scores, contenders, test_scores, with_oracle
from search.study import best_first, open_study
from spaces.parameters import Config

MEASURES = {
    "log_loss": "log loss, nats",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}


@dataclass(frozen=True)
class Comparison:
    horizons: tuple[int, ...]
    rows: dict[str, dict[int, Score]]
    """Title of the contender -> its scores."""
    constant: tuple[HorizonMetrics, ...]
    """Of always saying the share of rises in train; its AUC is a coin's."""
    test_series: int

    def metrics(self, title: str) -> tuple[HorizonMetrics, ...]:
        return tuple(score.metrics for score in self.rows[title].values())

    def mean_auc(self, title: str) -> float:
        """Over the horizons that have both classes; 0.5 if none has."""
        return mean_auc(self.metrics(title))

    @property
    def verdict(self) -> str:
        if self.test_series < FEWEST_SERIES:
            return f"No claim of skill: {self.test_series} test series are too few for an interval."
        shown = [h for h in self.horizons if self.rows["ensemble"][h].skill]
        rule = f"(95% over all horizons together, {self.test_series} test series)"
        if not shown:
            return f"No skill shown: at no horizon does the ensemble's interval lie above an AUC of 0.5 {rule}."
        if len(shown) == len(self.horizons):
            return f"Skill shown: at every horizon the ensemble's interval lies above an AUC of 0.5 {rule}."
        listed = ", ".join(map(str, shown))
        return (
            f"Skill shown at {listed} minutes: the ensemble's interval lies above an AUC of 0.5 {rule}; not elsewhere."
        )


def compare(run: RunDir, oracle: Path | None = None) -> Comparison:
    """Every contender on the stored test predictions; nothing is read from the dataset's test slice again."""
    ensemble = finished(run)
    predictions = pd.read_parquet(run.predictions)
    named = contenders(ensemble)
    if oracle is not None:
        predictions = with_oracle(predictions, oracle, ensemble.horizons)
        named = {"oracle": ORACLE} | named
    seed = run.document().settings.seed
    rows = {title: test_scores(predictions, who, ensemble.horizons, seed) for title, who in named.items()}
    test_series = predictions.loc[predictions["slice"] == "test", "series"].nunique()
    constant = constant_scores(predictions, ensemble.horizons)
    return Comparison(ensemble.horizons, rows, constant, int(test_series))


def finished(run: RunDir) -> EnsembleDocument:
    """The ensemble of a run that got that far. Raises InputError for one that did not."""
    if not run.ensemble.exists():
        status = run.document().status
        raise InputError(f"{run.path} is not finished, its status is {status}: `hybridtune resume {run.path}` goes on")
    return EnsembleDocument.read(run.ensemble)


def write_report(run: RunDir, oracle: Path | None = None) -> Comparison:
    comparison = compare(run, oracle)
    document = run.document()
    study = open_study(run)
    trials = pd.read_parquet(run.path / "trials.parquet")
    ensemble = finished(run)
    environment = Environment(loader=PackageLoader("search"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        comparison=comparison,
        document=document,
        ensemble=ensemble,
        dataset=run.open_dataset().info,
        trials=trials,
        states=trials["state"].value_counts().to_dict(),
        hours=trials["seconds"].sum() / 3600,
        best=_best(trials, study),
        plotly_js=get_plotlyjs(),
        measures=MEASURES,
        mean_metric=mean_metric,
        figures=_figures(run, study, comparison, document),
    )
    run.report.parent.mkdir(exist_ok=True)
    write_atomically(run.report, page.encode())
    return comparison


def terminal_table(comparison: Comparison) -> Table:
    """A row for each horizon; fits a terminal of 80 columns."""
    table = Table(title="Test AUC (95% interval by bootstrap over series)")
    table.add_column("minutes")
    for title in comparison.rows:
        table.add_column(title, justify="right", max_width=13)
    for horizon in comparison.horizons:
        table.add_row(str(horizon), *(_cell(scores[horizon]) for scores in comparison.rows.values()))
    table.add_section()
    table.add_row("mean", *(f"{comparison.mean_auc(title):.3f}" for title in comparison.rows))
    losses = [mean_metric(comparison.metrics(title), "log_loss") for title in comparison.rows]
    table.add_row("log loss", *(f"{loss:.4f}" for loss in losses))
    constant = mean_metric(comparison.constant, "log_loss")
    table.caption = f"log loss: mean over horizons, nats; of always saying train's share of rises {constant:.4f}"
    return table


def _cell(score: Score) -> str:
    if score.metrics.auc is None:
        return "one class"
    if np.isnan(score.auc_low):
        return f"{score.metrics.auc:.3f}\ntoo few"
    return f"{score.metrics.auc:.3f}\n{score.auc_low:.2f}-{score.auc_high:.2f}"


def _best(trials: pd.DataFrame, study: optuna.Study) -> Config:
    best = trials[trials["trial"] == best_first(study)[0].number].iloc[0]
    config = best[[name for name in trials.columns if name.startswith("config.")]].dropna()
    return {str(name).removeprefix("config."): value for name, value in config.items()}


def _figures(run: RunDir, study: optuna.Study, comparison: Comparison, document: RunDocument) -> dict[str, str]:
    curves = pd.read_parquet(run.path / "curves.parquet")
    figures = {
        "AUC by horizon on the test slice": _auc_figure(comparison),
        "Learning curves of all trials": _curve_figure(curves, document.settings.metric),
        "Optimisation history": optuna.visualization.plot_optimization_history(study),
        "Parallel coordinates": optuna.visualization.plot_parallel_coordinate(study),
    }
    return {title: _html(figure) for title, figure in figures.items()}


def _html(figure: go.Figure) -> str:
    figure.update_layout(title=None, template="plotly_white", height=420, margin={"t": 20})
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False}))


def _auc_figure(comparison: Comparison) -> go.Figure:
    figure = go.Figure()
    names = [str(horizon) for horizon in comparison.horizons]
    for title, scores in comparison.rows.items():
        values = [scores[h] for h in comparison.horizons]
        aucs = [score.metrics.auc for score in values]
        bars = {
            "type": "data",
            "array": [s.auc_high - (s.metrics.auc or 0) for s in values],
            "arrayminus": [(s.metrics.auc or 0) - s.auc_low for s in values],
        }
        figure.add_scatter(x=names, y=aucs, name=title, mode="markers", error_y=bars)
    shown = [v for scores in comparison.rows.values() for s in scores.values() for v in (s.auc_low, s.auc_high, 0.5)]
    margin = 0.02
    figure.add_hline(y=0.5, line_dash="dot", annotation_text="coin")
    figure.update_layout(
        xaxis_title="horizon in minutes",
        yaxis={"title": "AUC", "range": [np.nanmin(shown) - margin, np.nanmax(shown) + margin]},
        scattermode="group",
    )
    return figure


def _curve_figure(curves: pd.DataFrame, metric: str) -> go.Figure:
    figure = go.Figure()
    for number, curve in curves.groupby("trial"):
        figure.add_scatter(x=curve["iteration"], y=curve[metric], name=f"trial {number}", mode="lines+markers")
    figure.update_layout(xaxis_title="iteration", yaxis_title=metric.replace("_", " "))
    return figure
