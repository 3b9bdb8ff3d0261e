"""What a prediction scored; how it is measured stands in models/metrics.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HorizonMetrics:
    """One horizon's metrics over its known labels."""

    labels: int
    up_share: float
    auc: float | None
    """None where only one class is present."""
    log_loss: float
    """In nats."""
    brier: float
    accuracy: float
    """Of predicting up where its probability is above 0.5; precision, recall and F1 are of the same predictions."""
    precision: float
    """0 where up is never predicted."""
    recall: float
    """0 where no label is up."""
    f1: float
    calibration_error: float
    """Expected: mean distance between probability and share of up labels over bins, weighted by their labels."""


@dataclass(frozen=True)
class Score:
    """One prediction at one horizon on the test slice."""

    metrics: HorizonMetrics
    blocks: int
    """Blocks of calendar time, two horizons long, in which labels are known; see search.report.blocks."""
    auc_low: float
    auc_high: float
    """The interval that covers 95%; NaN with too few blocks."""
    saved: float
    """Log loss saved over the base rate, mean over the labels, in nats."""
    skill: bool
    """Whether it saves log loss at all: by a t test over the blocks that is wrong in at most 5% of runs, all horizons
    together."""
