"""Tables that hold many series, one below the other: sorted into a file from which each can be read alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybridtune.data.find import Found, SeriesFile, by_name, find_series
from hybridtune.data.schema import InputError
from hybridtune.data.tables import column_names, load_arrow, refusing
from hybridtune.data.text import shown

COPY = "sorted.arrow"


def series_ids(path: Path, column: str) -> int:
    """How many different ones a table has. Raises InputError if it cannot be read."""
    with refusing(path):
        return int(pc.count_distinct(load_arrow(path, [column]).column(column)).as_py())


@contextmanager
def series_below(raw: Path, column: str | None) -> Iterator[Found]:
    """As `find_series`, with the series of long tables instead of these, for as long as they are held. column: that
    names the series; None where none does.

    Raises InputError as `find_series` and `sorted_copy`.
    """
    found = find_series(raw, column)
    tables = [file.path for file in found.files if column is not None and _has(file, column)]
    if column is None or not tables:
        yield found
        return
    others = [file for file in found.files if file.path not in tables]
    with TemporaryDirectory(prefix="hybridtune-") as folder:
        files, twins = by_name([*others, *sorted_copy(tables, column, Path(folder))])
        yield Found(files, found.problems + twins)


def _has(file: SeriesFile, column: str) -> bool:
    try:
        with refusing(file.path):
            return column in column_names(file)
    except InputError:
        # Said when it is read.
        return False


def sorted_copy(tables: Sequence[Path], column: str, folder: Path) -> list[SeriesFile]:
    """The series of all tables together, in order of their names. The tables have to fit into memory.

    Each is a record batch of a file in `folder`, which is mapped by whoever reads one, and never read as a whole.

    Raises InputError if a table cannot be read, or if their columns differ.
    """
    parts = []
    for path in tables:
        with refusing(path):
            parts.append(load_arrow(path).combine_chunks())
        if parts[-1].schema.names != parts[0].schema.names:
            raise InputError(f"{path} has other columns than {tables[0]}: give all tables the same")
    with refusing(tables[0]):
        whole = pa.concat_tables(parts, promote_options="permissive")
        names = whole.column(column).cast(pa.string())
        whole = whole.drop_columns([column]).filter(pc.is_valid(names))
        names = names.drop_null()
        order = pc.sort_indices(names)
        whole, names = whole.take(order), names.take(order).to_pylist()
    if not names:
        raise InputError(f"{tables[0]}: column {shown(column)} is empty, it has to name the series of each row")
    starts = np.flatnonzero(np.r_[True, np.array(names[1:], dtype=object) != np.array(names[:-1], dtype=object)])
    ends = [*starts[1:], len(names)]
    copy = folder / COPY
    whole = whole.combine_chunks()
    files = []
    with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, whole.schema) as writer:
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            (batch,) = whole.slice(start, end - start).to_batches()
            writer.write_batch(batch)
            name = names[start]
            files.append(SeriesFile(tables[0] / name, name, "", copy=copy, batch=number))
    return files
