"""Several runs or bundles of one dataset side by side, on the test slice that all of them left sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from hybridtune.data.schema import InputError
from hybridtune.models.bundle.bundle import Bundle
from hybridtune.models.score import Score
from hybridtune.search.finalists.predictions import ENSEMBLE
from hybridtune.search.report.comparison import compare, describe_gain
from hybridtune.search.report.scores import auc_gain
from hybridtune.search.run.run_dir import RunDir

KEYS = ["slice", "series", "minute"]


@dataclass(frozen=True)
class Result:
    """What one of them says of its ensemble."""

    path: Path
    dataset: str
    horizons: tuple[int, ...]
    scores: dict[int, Score]
    predictions: pd.DataFrame | None
    """None of a bundle, which holds no data."""


@dataclass(frozen=True)
class SideBySide:
    horizons: tuple[int, ...]
    rows: dict[str, dict[int, Score]]
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
    lines = tuple(line for pair in combinations(results, 2) if (line := _gain_line(*pair)) is not None)
    return SideBySide(first.horizons, {str(result.path): result.scores for result in results}, lines)


def _read(path: Path) -> Result:
    if (path / "bundle.json").exists():
        bundle = Bundle.load(path).document
        scores = dict(zip(bundle.horizons, bundle.test, strict=True))
        return Result(path, bundle.provenance["dataset"], bundle.horizons, scores, None)
    run = RunDir.open(path)
    comparison = compare(run)
    fingerprint = run.document().dataset_fingerprint
    return Result(path, fingerprint, comparison.horizons, comparison.rows[ENSEMBLE], pd.read_parquet(run.predictions))


def _gain_line(result: Result, other: Result) -> str | None:
    if result.predictions is None or other.predictions is None:
        return None
    names = {f"{ENSEMBLE}/{horizon}": f"other/{horizon}" for horizon in result.horizons}
    theirs = other.predictions[[*KEYS, *names]].rename(columns=names)
    both = result.predictions.merge(theirs, on=KEYS, validate="one_to_one")
    assert len(both) == len(result.predictions) == len(theirs)
    gain = auc_gain(both, ENSEMBLE, "other", result.horizons, seed=0)
    return f"mean AUC of {result.path} over {other.path}: {describe_gain(gain)}"


def _listed(horizons: tuple[int, ...]) -> str:
    return "/".join(map(str, horizons))
