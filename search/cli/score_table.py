"""Scores as tables for the terminal."""

from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from hybridtune.models.metrics import mean_metric
from hybridtune.models.score import Score
from hybridtune.search.finalists.predictions import ENSEMBLE
from hybridtune.search.report.comparison import Comparison, Row


def terminal_table(comparison: Comparison) -> Table:
    """One row for each prediction, with its interval for the ensemble's. Seven horizons fit into 80 columns."""
    table = _empty(comparison.horizons)
    for key, row in comparison.rows.items():
        _add(table, row, with_interval=key == ENSEMBLE)
    return table


def score_table(horizons: tuple[int, ...], rows: Sequence[Row]) -> Table:
    """One row for each prediction, all with their intervals."""
    table = _empty(horizons)
    for row in rows:
        _add(table, row, with_interval=True)
    return table


def _empty(horizons: tuple[int, ...]) -> Table:
    table = Table(
        title="Test AUC by horizon in minutes",
        caption="95% interval by jackknife over blocks of calendar time; log loss: mean over horizons, nats",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    table.add_column("", overflow="fold")
    for name in (*map(str, horizons), "mean", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add(table: Table, row: Row, with_interval: bool) -> None:
    scores = row.scores.values()
    loss = mean_metric(row.metrics, "log_loss")
    table.add_row(row.title, *map(_auc, scores), f"{row.mean_auc:.3f}", f"{loss:.4f}")
    if with_interval:
        table.add_row("  from", *(_bound(score, score.auc_low) for score in scores))
        table.add_row("  to", *(_bound(score, score.auc_high) for score in scores))


def _auc(score: Score) -> str:
    return "-" if score.metrics.auc is None else f"{score.metrics.auc:.3f}"


def _bound(score: Score, bound: float) -> str:
    """A dash with one class only or too few blocks of time."""
    return "-" if score.metrics.auc is None or np.isnan(bound) else f"{bound:.3f}"
