"""Scores as tables for the terminal."""

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from hybridtune.models.metrics import mean_auc, mean_metric
from hybridtune.models.score import Score
from hybridtune.search.report.comparison import Comparison


def terminal_table(comparison: Comparison) -> Table:
    """A row for each horizon; fits a terminal of 80 columns."""
    table = score_table(comparison.horizons, comparison.rows)
    base_rate = mean_metric(comparison.base_rate, "log_loss")
    table.caption = f"log loss: mean over horizons, nats; of the base rate {base_rate:.4f}"
    return table


def score_table(horizons: tuple[int, ...], rows: Mapping[str, Mapping[int, Score]]) -> Table:
    table = Table(title="Test AUC (95% interval by bootstrap over launch hours)")
    table.add_column("minutes")
    for title in rows:
        table.add_column(title, justify="right", max_width=13)
    for horizon in horizons:
        table.add_row(str(horizon), *(_cell(scores[horizon]) for scores in rows.values()))
    table.add_section()
    metrics = [tuple(score.metrics for score in scores.values()) for scores in rows.values()]
    table.add_row("mean", *(f"{mean_auc(part):.3f}" for part in metrics))
    table.add_row("log loss", *(f"{mean_metric(part, 'log_loss'):.4f}" for part in metrics))
    return table


def _cell(score: Score) -> str:
    if score.metrics.auc is None:
        return "one class"
    if np.isnan(score.auc_low):
        return f"{score.metrics.auc:.3f}\ntoo few"
    return f"{score.metrics.auc:.3f}\n{score.auc_low:.2f}-{score.auc_high:.2f}"
