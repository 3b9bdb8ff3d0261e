"""What came out of a run, beside what it has to beat; from what was stored, the test slice is not read again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybridtune.data.schema import InputError
from hybridtune.models.metrics import all_metrics, mean_auc, mean_log_loss
from hybridtune.models.score import HorizonMetrics, Score
from hybridtune.search.finalists.baselines import LOGISTIC, TREES
from hybridtune.search.finalists.ensemble import EnsembleDocument, blended_members
from hybridtune.search.finalists.members import MemberDocument
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE, StoredPredictions
from hybridtune.search.report.blocks import FEWEST_BLOCKS
from hybridtune.search.report.scores import ORACLE, Gain, auc_gain, gains_shown, log_loss_gain, score, with_oracle
from hybridtune.search.run.run_dir import RunDir

BEST_SINGLE = "best_single"
TITLES = {
    ORACLE: "oracle",
    ENSEMBLE: "ensemble",
    BEST_SINGLE: "best single",
    "reference": "reference",
    "basic": "basic LSTM",
    LOGISTIC: "logistic regression",
    TREES: "boosted trees",
    BASE_RATE: "base rate",
}
"""Rows of the comparison, in order; for people."""


@dataclass(frozen=True)
class Row:
    title: str
    scores: dict[int, Score]
    """Horizon -> score."""

    @property
    def metrics(self) -> tuple[HorizonMetrics, ...]:
        return tuple(score.metrics for score in self.scores.values())

    @property
    def mean_auc(self) -> float:
        """Over the horizons that have both classes; 0.5 if none has."""
        return mean_auc(self.metrics)


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
    rows: dict[str, Row]
    """By the keys of TITLES; a role that no member has has no row."""
    test_series: int
    test_readings: int
    """How often the test slice was scored."""
    gains: dict[str, Gain]
    """Of the ensemble; over what -> how much."""
    finalists: tuple[Finalist, ...]

    @property
    def ensemble(self) -> Row:
        return self.rows[ENSEMBLE]

    @property
    def verdict(self) -> str:
        """The claim of skill, and how often the test slice was read for it."""
        scores = self.ensemble.scores
        few = [h for h, score in scores.items() if score.blocks < FEWEST_BLOCKS]
        shown = [h for h, score in scores.items() if score.skill]
        rule = f"(5% over all horizons together, {self.test_series} test series)"
        if len(few) == len(scores):
            claim = f"No claim of skill: at no horizon do the test labels span {FEWEST_BLOCKS} blocks of two horizons."
        elif not shown:
            claim = f"No skill shown: at no horizon does the ensemble surely save log loss over the base rate {rule}."
        elif len(shown) == len(scores):
            claim = f"Skill shown: at every horizon the ensemble saves log loss over the base rate {rule}."
        else:
            claim = (
                f"Skill shown at {_listed(shown)} minutes: there the ensemble saves log loss over the base rate {rule}."
            )
        if few and len(few) < len(scores):
            claim += f" No claim at {_listed(few)} minutes: fewer than {FEWEST_BLOCKS} blocks of two horizons."
        return claim + self._read_again

    @property
    def _read_again(self) -> str:
        if self.test_readings < 2:
            return ""
        return f" The test slice was read {self.test_readings} times: what was changed in between may have fitted it."

    @property
    def gain_lines(self) -> list[str]:
        return [f"{over}: {describe_gain(gain, self.horizons)}" for over, gain in self.gains.items()]


def describe_gain(gain: Gain, horizons: tuple[int, ...]) -> str:
    """horizons: of the run; named where the gain is over fewer."""
    if np.isnan(gain.value):
        return "not known, as no horizon has both classes"
    where = "" if gain.horizons == horizons else f" at {_listed(gain.horizons)} minutes"
    if np.isnan(gain.low):
        return f"{gain.value:+.4f}{where}, too few blocks of time for an interval"
    words = "a gain" if gain.shown else "no gain shown"
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]{where}, {words}"


def compare(run: RunDir, oracle: Path | None = None) -> Comparison:
    """Every prediction on the stored test slice; nothing is read from the dataset's test slice again."""
    ensemble = finished(run)
    stored = StoredPredictions.read(run, ensemble.horizons)
    if oracle is not None:
        stored = with_oracle(stored, oracle)
    test = stored.slice("test")
    columns = _columns(ensemble, oracle is not None)
    return Comparison(
        ensemble.horizons,
        {key: Row(TITLES[key], score(test, who)) for key, who in columns.items()},
        int(test.frame["series"].nunique()),
        run.document().test_readings,
        _gains(test, columns),
        _finalists(blended_members(run, ensemble), stored),
    )


def _columns(ensemble: EnsembleDocument, oracle: bool) -> dict[str, str]:
    """Key of TITLES -> whose stored predictions."""
    # Of several seeds the first stands for its configuration.
    roles = {role: member for member, roles in reversed(ensemble.roles.items()) for role in roles}
    known = {who: who for who in (ENSEMBLE, LOGISTIC, TREES, BASE_RATE)} | {BEST_SINGLE: ensemble.best_single} | roles
    if oracle:
        known[ORACLE] = ORACLE
    return {key: known[key] for key in TITLES if key in known}


def _gains(test: StoredPredictions, columns: dict[str, str]) -> dict[str, Gain]:
    """The base rate has no AUC to gain on."""
    rivals = [key for key in columns if key not in (ENSEMBLE, ORACLE, BASE_RATE)]
    gains = {f"mean AUC over {TITLES[key]}": auc_gain(test, ENSEMBLE, columns[key]) for key in rivals}
    return gains_shown(gains | {"log loss saved over the base rate": log_loss_gain(test, ENSEMBLE, BASE_RATE)})


def _finalists(trained: Sequence[MemberDocument], stored: StoredPredictions) -> tuple[Finalist, ...]:
    slices = [(part.label_AH(), part) for part in (stored.slice("blend"), stored.slice("test"))]
    found = []
    for member in trained:
        blend, test = (all_metrics(part.p_AH(member.id), y_AH) for y_AH, part in slices)
        parts = (member.tune, blend, test)
        found.append(
            Finalist(
                id=member.id,
                origin=member.origin,
                architecture=member.architecture,
                log_losses=(mean_log_loss(parts[0]), mean_log_loss(parts[1]), mean_log_loss(parts[2])),
                aucs=(mean_auc(parts[0]), mean_auc(parts[1]), mean_auc(parts[2])),
                test=test,
            )
        )
    return tuple(found)


def finished(run: RunDir) -> EnsembleDocument:
    """The ensemble of a run that got that far. Raises InputError for one that did not."""
    if not run.ensemble.exists():
        status = run.document().status
        raise InputError(f"{run.name} is not finished, its status is {status}: `hybridtune resume {run.name}` goes on")
    return EnsembleDocument.read(run.ensemble)


def _listed(horizons: Iterable[int]) -> str:
    return "/".join(map(str, horizons))
