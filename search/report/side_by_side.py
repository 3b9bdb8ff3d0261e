"""Several runs or bundles of one dataset side by side, on the test slice that all of them left sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from hybridtune.data.schema import InputError
from hybridtune.models.bundle.bundle import Bundle
from hybridtune.models.score import Score
from hybridtune.search.finalists.baselines import LOGISTIC, TREES
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE, StoredPredictions
from hybridtune.search.report.comparison import TITLES, Row, describe_gain, finished
from hybridtune.search.report.scores import MeanGain, auc_gain, gains_shown, score
from hybridtune.search.run.opening import open_run

KEYS = ["slice", "series", "minute"]


@dataclass(frozen=True)
class Result:
    """What one of them says of its ensemble."""

    name: str
    """The run's or the bundle's."""
    dataset: str
    horizons: tuple[int, ...]
    scores: dict[int, Score]
    predictions: StoredPredictions | None
    """None of a bundle, which holds no data."""


@dataclass(frozen=True)
class SideBySide:
    horizons: tuple[int, ...]
    rows: tuple[Row, ...]
    lines: tuple[str, ...]
    """How much one gains over another, pair by pair on the same anchors, wherever both are runs."""


def side_by_side(names: Sequence[str | Path]) -> SideBySide:
    """Raises InputError if there are not two of them, or they do not know the same dataset and horizons."""
    different = list(dict.fromkeys(map(str, names)))
    if len(different) < 2:
        raise InputError(f"compare needs two or more runs or bundles, got {len(different)}")
    results = [_read(name) for name in different]
    first = results[0]
    for other in results[1:]:
        if (other.dataset, other.horizons) != (first.dataset, first.horizons):
            raise InputError(
                f"{first.name} and {other.name} cannot be compared: one is of dataset {first.dataset} and horizons "
                f"{_listed(first.horizons)}, the other of {other.dataset} and {_listed(other.horizons)}"
            )
    rows = (*(Row(result.name, result.scores) for result in results), *_baselines(results))
    return SideBySide(first.horizons, rows, _lines(results))


def _read(name: str) -> Result:
    path = Path(name)
    if (path / "bundle.json").exists():
        bundle = Bundle.load(path).document
        scores = dict(zip(bundle.horizons, bundle.test, strict=True))
        return Result(name, bundle.provenance["dataset"], bundle.horizons, scores, None)
    run = open_run(name)
    horizons = finished(run).horizons
    predictions = StoredPredictions.read(run, horizons).slice("test")
    fingerprint = run.document().dataset_fingerprint
    return Result(name, fingerprint, horizons, score(predictions, ENSEMBLE), predictions)


def _baselines(results: Sequence[Result]) -> list[Row]:
    """As the first run fitted them; a bundle does not carry them."""
    predictions = next((result.predictions for result in results if result.predictions is not None), None)
    if predictions is None:
        return []
    return [Row(TITLES[who], score(predictions, who)) for who in (LOGISTIC, TREES, BASE_RATE)]


def _lines(results: Sequence[Result]) -> tuple[str, ...]:
    """A gain is shown after Bonferroni over all pairs."""
    pairs = [(one, other) for one, other in combinations(results, 2) if one.predictions and other.predictions]
    gains = gains_shown({f"mean AUC of {one.name} over {other.name}": _gain(one, other) for one, other in pairs})
    return tuple(f"{pair}: {describe_gain(gain, results[0].horizons)}" for pair, gain in gains.items())


def _gain(result: Result, other: Result) -> MeanGain:
    assert result.predictions is not None
    assert other.predictions is not None
    names = {f"{ENSEMBLE}/{horizon}": f"other/{horizon}" for horizon in result.horizons}
    theirs = other.predictions.frame[[*KEYS, *names]].rename(columns=names)
    both = result.predictions.frame.merge(theirs, on=KEYS, validate="one_to_one")
    assert len(both) == len(result.predictions.frame) == len(theirs)
    return auc_gain(StoredPredictions(both, result.horizons), ENSEMBLE, "other")


def _listed(horizons: tuple[int, ...]) -> str:
    return "/".join(map(str, horizons))
