"""A bundle and a folder of series -> one parquet file of predictions, streamed."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path

import pyarrow as pa

from hybridtune.data.document import refuse_existing
from hybridtune.data.find import SeriesFile, find_series
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.schema import InputError
from hybridtune.data.text import printable
from hybridtune.models.bundle.attention import Explainer
from hybridtune.models.bundle.attention_folder import Explain, explanation
from hybridtune.models.bundle.bundle import SERIES_PER_BATCH, Bundle, SeriesPrediction
from hybridtune.models.bundle.minutes import EVERY_MINUTE, Asked
from hybridtune.models.bundle.row_groups import RowGroups
from hybridtune.models.device import use_one_core

SCHEMA = pa.schema(
    {
        "series": pa.string(),
        "minute": pa.int32(),
        "datetime": pa.timestamp("us"),
        "horizon": pa.int32(),
        "probability": pa.float64(),
        "spread": pa.float64(),
    }
)


@dataclass(frozen=True)
class PredictSummary:
    series: int
    """Series with at least one prediction."""
    rows: int
    problems: tuple[str, ...]
    """Of each series without a prediction: too short, or unreadable."""
    goes_on: int
    """Series that have bars after the last minute that can be predicted from."""
    explainer: Explainer | None
    """Whose attention was written."""


def predict_folder(
    bundle_path: Path,
    raw: Path,
    out: Path,
    asked: Asked = EVERY_MINUTE,
    explain: Explain | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    parallel_map: ParallelMap | None = None,
) -> PredictSummary:
    """Writes `out`, one row an anchor and horizon, and the folder that `explain` names. Raises InputError if nothing
    can be predicted or explained, or a place is taken; then nothing is written. parallel_map: spreads many series
    over its processes; to explain takes this one.
    """
    use_one_core()
    refuse_existing(out)
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist: make it first")
    if explain is not None:
        explain.refuse_unfit(asked, out)
    bundle = Bundle.load(bundle_path)
    horizons = bundle.document.horizons
    explainer = None if explain is None else bundle.explainer()
    found = find_series(raw)
    if parallel_map is None or explainer is not None or len(found.files) <= SERIES_PER_BATCH:
        predictions = bundle.predict(found.files, asked, explainer)
    else:
        parts = _batched(found.files, SERIES_PER_BATCH)
        predictions = chain.from_iterable(parallel_map(partial(_predict_part, bundle_path, asked), parts))
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    problems = [problem.reason for problem in found.problems]
    series = rows = goes_on = 0
    try:
        with _explanation(explain, explainer, horizons) as explained, RowGroups(temporary, SCHEMA) as table:
            for done, prediction in enumerate(predictions, start=1):
                goes_on += prediction.goes_on
                if prediction.problem is not None:
                    problems.append(prediction.problem)
                if len(prediction.minute_K):
                    frame = prediction.frame(horizons)
                    table.add(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False))
                    explained(prediction)
                    series, rows = series + 1, rows + len(frame)
                progress(done, len(found.files))
            if not series:
                raise InputError(f"nothing to predict in {raw}: {problems[0]}")
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return PredictSummary(series, rows, tuple(printable(problem) for problem in problems), goes_on, explainer)


def _predict_part(bundle_path: Path, asked: Asked, files: Sequence[SeriesFile]) -> list[SeriesPrediction]:
    use_one_core()
    return list(_loaded(bundle_path).predict(files, asked))


@cache
def _loaded(bundle_path: Path) -> Bundle:
    """Once for each process of a parallel map, which ends with it."""
    return Bundle.load(bundle_path)


def _batched(files: Sequence[SeriesFile], size: int) -> Iterator[Sequence[SeriesFile]]:
    for first in range(0, len(files), size):
        yield files[first : first + size]


def _explanation(
    explain: Explain | None, explainer: Explainer | None, horizons: tuple[int, ...]
) -> AbstractContextManager[Callable[[SeriesPrediction], None]]:
    if explain is None or explainer is None:
        return nullcontext(lambda prediction: None)
    return explanation(explain, explainer, horizons)
