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
from hybridtune.search.run.run_dir import RunDir

KEYS = ["slice", "series", "minute"]


@dataclass(frozen=True)
class Result:
    """What one of them says of its ensemble."""

    path: Path
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


def side_by_side(paths: Sequence[Path]) -> SideBySide:
    """Raises InputError if there are not two of them, or they do not know the same dataset and horizons."""
    if len(set(paths)) < 2:
        raise InputError(f"compare needs two or more runs or bundles, got {len(set(paths))}")
    results = [_read(path) for path in dict.fromkeys(paths)]
    first = results[0]
    for other in results[1:]:
        if (other.dataset, other.horizons) != (first.dataset, first.horizons):
            raise InputError(
                f"{first.path} and {other.path} cannot be compared: one is of dataset {first.dataset} and horizons "
                f"{_listed(first.horizons)}, the other of {other.dataset} and {_listed(other.horizons)}"
            )
    rows = (*(Row(str(result.path), result.scores) for result in results), *_baselines(results))
    return SideBySide(first.horizons, rows, _lines(results))


def _read(path: Path) -> Result:
    if (path / "bundle.json").exists():
        bundle = Bundle.load(path).document
        scores = dict(zip(bundle.horizons, bundle.test, strict=True))
        return Result(path, bundle.provenance["dataset"], bundle.horizons, scores, None)
    run = RunDir.open(path)
    horizons = finished(run).horizons
    predictions = StoredPredictions.read(run, horizons).slice("test")
    fingerprint = run.document().dataset_fingerprint
    return Result(path, fingerprint, horizons, score(predictions, ENSEMBLE), predictions)


def _baselines(results: Sequence[Result]) -> list[Row]:
    """As the first run fitted them; a bundle does not carry them."""
    predictions = next((result.predictions for result in results if result.predictions is not None), None)
    if predictions is None:
        return []
    return [Row(TITLES[who], score(predictions, who)) for who in (LOGISTIC, TREES, BASE_RATE)]


def _lines(results: Sequence[Result]) -> tuple[str, ...]:
    """A gain is shown after Bonferroni over all pairs."""
    pairs = [(one, other) for one, other in combinations(results, 2) if one.predictions and other.predictions]
    gains = gains_shown({f"mean AUC of {one.path} over {other.path}": _gain(one, other) for one, other in pairs})
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
