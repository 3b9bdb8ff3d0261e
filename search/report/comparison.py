"""What came out of a run, beside what it has to beat; from what was stored, the test slice is not read again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hybridtune.data.schema import InputError
from hybridtune.models.metrics import all_metrics, mean_auc, mean_log_loss
from hybridtune.models.score import HorizonMetrics, Score
from hybridtune.search.finalists.ensemble import EnsembleDocument
from hybridtune.search.finalists.members import members
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE
from hybridtune.search.report.scores import (
    FEWEST_HOURS,
    ORACLE,
    Gain,
    auc_gain,
    base_rate_scores,
    compared,
    launch_hours,
    log_loss_gain,
    test_scores,
    test_slice,
    with_oracle,
)
from hybridtune.search.run.run_dir import RunDir


@dataclass(frozen=True)
class Finalist:
    """A member, and what selecting it cost: its trial was chosen on tune, its weight fitted on blend."""

    id: str
    origin: str
    architecture: str
    log_losses: tuple[float, float, float]
    """Mean over the horizons on tune, blend and test, in nats."""
    aucs: tuple[float, float, float]
    test: tuple[HorizonMetrics, ...]


@dataclass(frozen=True)
class Comparison:
    horizons: tuple[int, ...]
    rows: dict[str, dict[int, Score]]
    """Title of the prediction -> its scores."""
    base_rate: tuple[HorizonMetrics, ...]
    """Of the share of up labels in train as the probability; its AUC is 0.5."""
    test_series: int
    test_hours: int
    """In which they launched."""
    gains: dict[str, Gain]
    """Of the ensemble; over what -> how much."""
    finalists: tuple[Finalist, ...]

    def metrics(self, title: str) -> tuple[HorizonMetrics, ...]:
        return tuple(score.metrics for score in self.rows[title].values())

    def mean_auc(self, title: str) -> float:
        """Over the horizons that have both classes; 0.5 if none has."""
        return mean_auc(self.metrics(title))

    @property
    def verdict(self) -> str:
        if self.test_hours < FEWEST_HOURS:
            return f"No claim of skill: test series of {self.test_hours} launch hours are too few for an interval."
        shown = [h for h in self.horizons if self.rows["ensemble"][h].skill]
        rule = f"(95% over all horizons together, {self.test_series} test series of {self.test_hours} launch hours)"
        if not shown:
            return f"No skill shown: at no horizon does the ensemble's interval lie above an AUC of 0.5 {rule}."
        if len(shown) == len(self.horizons):
            return f"Skill shown: at every horizon the ensemble's interval lies above an AUC of 0.5 {rule}."
        listed = ", ".join(map(str, shown))
        return (
            f"Skill shown at {listed} minutes: the ensemble's interval lies above an AUC of 0.5 {rule}; not elsewhere."
        )

    @property
    def gain_lines(self) -> list[str]:
        return [f"{over}: {describe_gain(gain)}" for over, gain in self.gains.items()]


def describe_gain(gain: Gain) -> str:
    if np.isnan(gain.value):
        return "not known, as no horizon has both classes"
    if np.isnan(gain.low):
        return f"{gain.value:+.4f}, too few launch hours for an interval"
    words = "a gain" if gain.shown else "no gain shown"
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], {words}"


def compare(run: RunDir, oracle: Path | None = None) -> Comparison:
    """Every prediction on the stored test predictions; nothing is read from the dataset's test slice again."""
    ensemble = finished(run)
    predictions = pd.read_parquet(run.predictions)
    named = compared(ensemble)
    if oracle is not None:
        predictions = with_oracle(predictions, oracle, ensemble.horizons)
        named = {"oracle": ORACLE} | named
    seed = run.document().settings.seed
    rows = {title: test_scores(predictions, who, ensemble.horizons, seed) for title, who in named.items()}
    test = test_slice(predictions)
    return Comparison(
        ensemble.horizons,
        rows,
        base_rate_scores(predictions, ensemble.horizons),
        int(test["series"].nunique()),
        len(np.unique(launch_hours(test))),
        _gains(predictions, compared(ensemble), ensemble.horizons, seed),
        _finalists(run, predictions, ensemble.horizons),
    )


def _gains(predictions: pd.DataFrame, named: dict[str, str], horizons: tuple[int, ...], seed: int) -> dict[str, Gain]:
    others = {title: who for title, who in named.items() if who != ENSEMBLE}
    gains = {
        f"mean AUC over {title}": auc_gain(predictions, ENSEMBLE, who, horizons, seed) for title, who in others.items()
    }
    base_rate = log_loss_gain(predictions, ENSEMBLE, BASE_RATE, horizons, seed)
    return gains | {"log loss saved over the base rate": base_rate}


def _finalists(run: RunDir, predictions: pd.DataFrame, horizons: tuple[int, ...]) -> tuple[Finalist, ...]:
    found = []
    for member in members(run):
        parts = [member.tune]
        for name in ("blend", "test"):
            part = predictions[predictions["slice"] == name]
            p_AH, y_AH = (part[[f"{who}/{h}" for h in horizons]].to_numpy() for who in (member.id, "label"))
            parts.append(all_metrics(p_AH, y_AH))
        tune, blend, test = parts
        found.append(
            Finalist(
                member.id,
                member.origin,
                member.architecture,
                (mean_log_loss(tune), mean_log_loss(blend), mean_log_loss(test)),
                (mean_auc(tune), mean_auc(blend), mean_auc(test)),
                test,
            )
        )
    return tuple(found)


def finished(run: RunDir) -> EnsembleDocument:
    """The ensemble of a run that got that far. Raises InputError for one that did not."""
    if not run.ensemble.exists():
        status = run.document().status
        raise InputError(f"{run.path} is not finished, its status is {status}: `hybridtune resume {run.path}` goes on")
    return EnsembleDocument.read(run.ensemble)
