"""A bundle and a folder of series -> one parquet file of predictions, streamed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.document import refuse_existing
from data.read import find_series
from data.schema import InputError
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
    notes: tuple[str, ...]
    """What is to be said of single series: too short, unreadable, longer than the model can see."""


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
    files = find_series(raw)
    temporary = out.with_name(f".{out.name}.tmp")
    notes: list[str] = []
    series = rows = 0
    try:
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            for done, prediction in enumerate(bundle.predict(files, stride, last), start=1):
                if prediction.note is not None:
                    notes.append(prediction.note)
                if len(prediction.minute_K):
                    frame = prediction.frame(bundle.document.horizons)
                    writer.write_table(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False))
                    series, rows = series + 1, rows + len(frame)
                progress(done, len(files))
        if not series:
            raise InputError(f"nothing to predict in {raw}: {notes[0] if notes else 'no observed minute'}")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return PredictSummary(series, rows, tuple(notes))
