"""A parquet file of many small tables."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 2**19
TABLES_PER_GROUP = 1000
"""Bound what waits in memory, and with it the number of row groups, whose headers stay there until the end."""


class RowGroups:
    """Gathers tables of one schema into row groups of a good size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._writer:
            if error is None:
                self._flush()

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += len(table)
        if self._rows >= ROWS_PER_GROUP or len(self._waiting) >= TABLES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            # Each table brings a dictionary of its own; a row group has one.
            self._writer.write_table(pa.concat_tables(self._waiting).unify_dictionaries(), ROWS_PER_GROUP)
        self._waiting, self._rows = [], 0
