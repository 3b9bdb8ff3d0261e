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
from hybridtune.data.find import SeriesFile
from hybridtune.data.long_tables import series_below
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.schema import InputError
from hybridtune.data.text import printable
from hybridtune.models.bundle.attention import AttentiveMember
from hybridtune.models.bundle.attention_folder import AttentionFolder, Write
from hybridtune.models.bundle.bundle import SERIES_PER_BATCH, Bundle
from hybridtune.models.bundle.minutes import EVERY_MINUTE, Requested
from hybridtune.models.bundle.row_groups import RowGroups
from hybridtune.models.bundle.series import SeriesPrediction
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
    attentive: AttentiveMember | None
    """The member whose attention was written."""


def predict_folder(
    bundle_path: Path,
    raw: Path,
    out: Path,
    requested: Requested = EVERY_MINUTE,
    attention: AttentionFolder | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    parallel_map: ParallelMap | None = None,
) -> PredictSummary:
    """Writes `out`, one row for each anchor and horizon, and the attention folder where one is wanted.

    parallel_map: spreads many series over its processes; with an attention folder this process does all the work.
    Raises InputError if nothing can be predicted or explained, or if a path is taken; then nothing is written.
    """
    use_one_core()
    refuse_existing(out)
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist: make it first")
    if attention is not None:
        attention.refuse_unfit(requested, out)
    bundle = Bundle.load(bundle_path)
    horizons = bundle.document.horizons
    attentive = None if attention is None else bundle.attentive_member()
    # A member is explained by this process alone.
    spread = None if attentive is not None else parallel_map
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    problems: list[str] = []
    series = rows = goes_on = 0
    try:
        with (
            series_below(raw, bundle.document.columns.id) as found,
            _attention_writer(attention, attentive, horizons) as write_attention,
            RowGroups(temporary, SCHEMA) as table,
        ):
            problems += [problem.reason for problem in found.problems]
            if spread is None or len(found.files) <= SERIES_PER_BATCH:
                predictions = bundle.predict(found.files, requested, attentive)
            else:
                parts = _batched(found.files, SERIES_PER_BATCH)
                predictions = chain.from_iterable(spread(partial(_predict_part, bundle_path, requested), parts))
            for done, prediction in enumerate(predictions, start=1):
                goes_on += prediction.series.goes_on
                if prediction.series.problem is not None:
                    problems.append(prediction.series.problem)
                if len(prediction.series.minute_K):
                    frame = prediction.frame(horizons)
                    table.add(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False))
                    write_attention(prediction)
                    series, rows = series + 1, rows + len(frame)
                progress(done, len(found.files))
            if not series:
                raise InputError(f"nothing to predict in {raw}: {problems[0]}")
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another path") from None
    finally:
        temporary.unlink(missing_ok=True)
    return PredictSummary(series, rows, tuple(printable(problem) for problem in problems), goes_on, attentive)


def _predict_part(bundle_path: Path, requested: Requested, files: Sequence[SeriesFile]) -> list[SeriesPrediction]:
    use_one_core()
    return list(_loaded(bundle_path).predict(files, requested))


@cache
def _loaded(bundle_path: Path) -> Bundle:
    """Cached for the life of a process of the parallel map."""
    return Bundle.load(bundle_path)


def _batched(files: Sequence[SeriesFile], size: int) -> Iterator[Sequence[SeriesFile]]:
    for first in range(0, len(files), size):
        yield files[first : first + size]


def _attention_writer(
    folder: AttentionFolder | None, member: AttentiveMember | None, horizons: tuple[int, ...]
) -> AbstractContextManager[Write]:
    if folder is None or member is None:
        return nullcontext(lambda prediction: None)
    return folder.writer(member, horizons)
