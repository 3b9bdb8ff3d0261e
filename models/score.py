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
    """One prediction at one horizon on the test slice. The interval covers 95%, by bootstrap over launch hours; it is
    NaN where there are too few of them.
    """

    metrics: HorizonMetrics
    auc_low: float
    auc_high: float
    skill: bool
    """Whether a coin's AUC of 0.5 lies below the interval, widened so that a claim at any of the horizons is wrong in
    at most 5% of runs (Bonferroni)."""
