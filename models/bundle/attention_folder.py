"""The folder of `predict --explain`: where a member looked at each anchor, as parquet and as one page.

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
from hybridtune.models.bundle.attention import Explainer
from hybridtune.models.bundle.bundle import SeriesPrediction
from hybridtune.models.bundle.minutes import Asked, Every
from hybridtune.models.bundle.row_groups import RowGroups

DRAWN_ANCHORS = 12

Example = tuple[SeriesPrediction, int]
"""A series, and the place of one of its anchors among them."""

Draw = Callable[[Path, Explainer, tuple[int, ...], list[Example]], None]
"""Writes the page: to a path, for a member, the horizons, and the first anchors."""


@dataclass(frozen=True)
class Explain:
    """What is asked for; the page is drawn by what can draw."""

    folder: Path
    draw: Draw

    def refuse_unfit(self, asked: Asked, out: Path) -> None:
        """Raises InputError if the folder exists, is also `out`, or would take gigabytes."""
        refuse_existing(self.folder)
        if self.folder.absolute() == out.absolute():
            raise InputError(f"predictions and their explanation need a place each, got {out} for both")
        if isinstance(asked, Every):
            raise InputError(
                "explain needs --last or --minutes: the weights of every minute at every anchor would be gigabytes"
            )


def _schema(key: str, explainer: Explainer) -> pa.Schema:
    columns = {
        "series": pa.dictionary(pa.int32(), pa.string()),
        "anchor": pa.int32(),
        "head": pa.int16(),
        key: pa.int32(),
        "weight": pa.float32(),
    }
    about = {"member": explainer.member, "architecture": explainer.architecture, "mean_weight": str(explainer.weight)}
    return pa.schema(columns, about)


def _table(
    schema: pa.Schema, series: str, anchor: int, key_J: NDArray[np.int32], weights_EJ: NDArray[np.float32]
) -> pa.Table:
    """A row a head and key (minute or window)."""
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


@contextmanager
def explanation(
    explain: Explain, explainer: Explainer, horizons: tuple[int, ...]
) -> Iterator[Callable[[SeriesPrediction], None]]:
    """Yields what takes each prediction in turn. The folder appears when the block ends, and only then."""
    examples: list[Example] = []
    minutes, windows = _schema("minute", explainer), _schema("window", explainer)
    window_S = np.array(explainer.windows, dtype=np.int32)
    with new_folder(explain.folder) as folder:
        with ExitStack() as files:
            to_minutes = files.enter_context(RowGroups(folder / "minutes.parquet", minutes))
            to_windows = files.enter_context(RowGroups(folder / "windows.parquet", windows)) if len(window_S) else None

            def take(prediction: SeriesPrediction) -> None:
                name = prediction.file.name
                for k, (anchor, looked) in enumerate(zip(prediction.minute_K, prediction.attention_K, strict=True)):
                    minute_T = np.arange(anchor + 1, dtype=np.int32)
                    to_minutes.add(_table(minutes, name, anchor, minute_T, looked.minutes_ET))
                    if to_windows is not None and looked.windows_ES is not None:
                        to_windows.add(_table(windows, name, anchor, window_S, looked.windows_ES))
                    if len(examples) < DRAWN_ANCHORS:
                        examples.append((prediction, k))

            yield take
        explain.draw(folder / "index.html", explainer, horizons, examples)
