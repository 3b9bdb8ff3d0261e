"""The folder of `predict --explain`: a member's attention weights at each anchor, as parquet and as one page.

    minutes.parquet    weight of every minute up to an anchor, by head
    windows.parquet    weight of every fixed window, by head, where the architecture has them
    index.html         the first anchors, drawn

Anchors and minutes count from launch, heads from 0.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from hybridtune.data.document import new_folder, refuse_existing
from hybridtune.data.schema import InputError
from hybridtune.models.bundle.attention import AttentiveMember
from hybridtune.models.bundle.minutes import Every, Requested
from hybridtune.models.bundle.row_groups import RowGroups
from hybridtune.models.bundle.series import SeriesPrediction

DRAWN_ANCHORS = 12

Example = tuple[SeriesPrediction, int]
"""A series, and the index of one of its predicted minutes."""

Draw = Callable[[Path, AttentiveMember, tuple[int, ...], list[Example]], None]
"""Writes the page: to a path, for a member, the horizons, and the first anchors."""

Write = Callable[[SeriesPrediction], None]


@dataclass(frozen=True)
class AttentionFolder:
    """A folder that is to be written. Its page is drawn by `draw`, as a bundle has no plotting library."""

    path: Path
    draw: Draw

    def refuse_unfit(self, requested: Requested, out: Path) -> None:
        """Raises InputError if the folder exists, is also `out`, or would take gigabytes."""
        refuse_existing(self.path)
        if self.path.absolute() == out.absolute():
            raise InputError(f"predictions and their explanation need a path each, got {out} for both")
        if isinstance(requested, Every):
            raise InputError(
                "explain needs --last or --minutes: the weights of every minute at every anchor would be gigabytes"
            )

    @contextmanager
    def writer(self, member: AttentiveMember, horizons: tuple[int, ...]) -> Iterator[Write]:
        """Yields a function that takes each prediction in turn. The folder appears when the block ends, not before."""
        examples: list[Example] = []
        minutes, windows = _schema("minute", member), _schema("window", member)
        window_S = np.array(member.windows, dtype=np.int32)
        with new_folder(self.path) as folder:
            with ExitStack() as files:
                to_minutes = files.enter_context(RowGroups(folder / "minutes.parquet", minutes))
                to_windows = (
                    files.enter_context(RowGroups(folder / "windows.parquet", windows)) if len(window_S) else None
                )

                def write(prediction: SeriesPrediction) -> None:
                    name = prediction.series.file.name
                    anchors = zip(prediction.series.minute_K, prediction.attention_K, strict=True)
                    for k, (anchor, attention) in enumerate(anchors):
                        minute_T = np.arange(anchor + 1, dtype=np.int32)
                        to_minutes.add(_table(minutes, name, anchor, minute_T, attention.minutes_ET))
                        if to_windows is not None and attention.windows_ES is not None:
                            to_windows.add(_table(windows, name, anchor, window_S, attention.windows_ES))
                        if len(examples) < DRAWN_ANCHORS:
                            examples.append((prediction, k))

                yield write
            self.draw(folder / "index.html", member, horizons, examples)


def _schema(key: str, member: AttentiveMember) -> pa.Schema:
    columns = {
        "series": pa.dictionary(pa.int32(), pa.string()),
        "anchor": pa.int32(),
        "head": pa.int16(),
        key: pa.int32(),
        "weight": pa.float32(),
    }
    about = {"member": member.member, "architecture": member.architecture, "mean_weight": str(member.weight)}
    return pa.schema(columns, about)


def _table(
    schema: pa.Schema, series: str, anchor: int, key_J: NDArray[np.int32], weights_EJ: NDArray[np.float32]
) -> pa.Table:
    """One row for each head and key (minute or window)."""
    heads, keys = weights_EJ.shape
    rows = heads * keys
    columns: list[ArrayLike] = [
        pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), [series]),
        np.full(rows, anchor, dtype=np.int32),
        np.repeat(np.arange(heads, dtype=np.int16), keys),
        np.tile(key_J, heads),
        weights_EJ.reshape(-1),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=schema)
