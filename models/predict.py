"""A bundle and a folder of series -> one parquet file of predictions, streamed."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.document import refuse_existing
from data.find import find_series
from data.schema import InputError
from data.text import printable
from models.bundle import Bundle
from models.device import use_one_core

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
    """Series that have bars behind the last minute that can be predicted from."""


def predict_folder(
    bundle_path: Path,
    raw: Path,
    out: Path,
    stride: int = 1,
    last: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PredictSummary:
    """Writes `out`, one row an anchor and horizon. Raises InputError if nothing can be predicted or `out`
    exists; then `out` is not written.
    """
    use_one_core()
    refuse_existing(out)
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist: make it first")
    bundle = Bundle.load(bundle_path)
    found = find_series(raw)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    problems = [problem.reason for problem in found.problems]
    series = rows = goes_on = 0
    try:
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            for done, prediction in enumerate(bundle.predict(found.files, stride, last), start=1):
                goes_on += prediction.goes_on
                if prediction.problem is not None:
                    problems.append(prediction.problem)
                if len(prediction.minute_K):
                    frame = prediction.frame(bundle.document.horizons)
                    writer.write_table(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False))
                    series, rows = series + 1, rows + len(frame)
                progress(done, len(found.files))
        if not series:
            raise InputError(f"nothing to predict in {raw}: {problems[0] if problems else 'no observed minute'}")
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return PredictSummary(series, rows, tuple(printable(problem) for problem in problems), goes_on)
