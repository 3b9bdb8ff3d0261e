"""Tables that hold many series, one below the other: sorted into a file from which each can be read alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybridtune.data.columns import KNOWN
from hybridtune.data.find import Found, Problem, SeriesFile, by_name, find_series
from hybridtune.data.schema import InputError
from hybridtune.data.tables import column_names, load_arrow, refusing
from hybridtune.data.text import shown

COPY = "sorted.arrow"


def refuse_unknown_id(files: Sequence[SeriesFile], named: str | None) -> None:
    """Raises InputError if the column that was named for the series is in no file and no folder has it as a key."""
    if named is None:
        return
    key = f"{named.lower()}="
    for file in files:
        if any(part.lower().startswith(key) for part in file.path.parts):
            return
        with suppress(InputError), refusing(file.path):
            if named in column_names(file):
                return
    raise InputError(f"no file has a column {shown(named)}, and no folder that key, which was named for the id")


def id_column(file: SeriesFile, names: Sequence[str]) -> str | None:
    """The column that names the series of a table that holds many; None for the file of a single series, whatever
    column repeats its name or numbers its rows. names: of its columns.

    Raises InputError if it cannot be read, or if two columns name its rows, and not alike.
    """
    candidates = [name for known in KNOWN["id"] for name in names if name.lower() == known]
    if file.copy is not None or len(file.paths) > 1 or not candidates:
        return None
    ids = {name: _ids(file.path, name) for name in candidates}
    naming = [name for name, column in ids.items() if 1 < len(column.unique()) < len(column)]
    for other in naming[1:]:
        both = pa.table({"first": ids[naming[0]], "other": ids[other]}).group_by(["first", "other"]).aggregate([])
        if not len(both) == len(ids[naming[0]].unique()) == len(ids[other].unique()):
            raise InputError(
                f"{file.path}: columns {shown(naming[0])} and {shown(other)} both name its rows, and not alike: take "
                f"one of them away, or say to prepare which names the series, --columns id={other}"
            )
    return naming[0] if naming else None


def _ids(path: Path, column: str) -> pa.ChunkedArray:
    """Without those that say nothing."""
    with refusing(path):
        found = load_arrow(path, column, [column]).column(column).drop_null()
        return found.filter(pc.not_equal(found, ""))


@contextmanager
def series_below(raw: Path, column: str | None) -> Iterator[Found]:
    """As `find_series`, with the series of long tables instead of these, for as long as they are held. column: that
    names the series; where a table does not have it, it is the one by which `prepare` would know them.

    Raises InputError as `find_series` and `sorted_copy`.
    """
    found = find_series(raw, column)
    others: list[SeriesFile] = []
    problems: list[Problem] = []
    tables: dict[str, list[Path]] = {}
    for file in found.files:
        try:
            named_by = _named_by(file, column)
        except InputError as error:
            problems.append(Problem(file.path, str(error)))
            continue
        if named_by is None:
            others.append(file)
        else:
            tables.setdefault(named_by, []).append(file.path)
    if not tables:
        yield Found(others, found.problems + problems)
        return
    with TemporaryDirectory(prefix="hybridtune-") as folder:
        copied: list[SeriesFile] = []
        for number, (named_by, paths) in enumerate(tables.items()):
            (Path(folder) / str(number)).mkdir()
            series = sorted_copy(paths, named_by, Path(folder) / str(number))
            copied += series.files
            problems += series.problems
        files, twins = by_name([*others, *copied])
        yield Found(files, found.problems + problems + twins)


def _named_by(file: SeriesFile, column: str | None) -> str | None:
    with refusing(file.path):
        names = column_names(file)
    return column if column in names and len(file.paths) == 1 else id_column(file, names)


def sorted_copy(tables: Sequence[Path], column: str, folder: Path) -> Found:
    """The series of all tables together, in order of their names, and of each table that has rows without a name that
    it does. The tables have to fit into memory.

    Each is a record batch of a file in `folder`, which is mapped by whoever reads one, and never read as a whole.

    Raises InputError if a table cannot be read, or if their columns differ.
    """
    parts = []
    problems = []
    for path in tables:
        with refusing(path):
            parts.append(load_arrow(path, column).combine_chunks())
            named = pc.and_kleene(parts[-1].column(column).is_valid(), pc.not_equal(parts[-1].column(column), ""))
            parts[-1] = parts[-1].filter(named)
        if nameless := len(named) - len(parts[-1]):
            words = f"{nameless} rows without a name in column {shown(column)} are left out: write it there"
            problems.append(Problem(path, f"{path}: {words}"))
        if parts[-1].schema.names != parts[0].schema.names:
            raise InputError(f"{path} has other columns than {tables[0]}: give all tables the same")
    with refusing(tables[0]):
        whole = pa.concat_tables(parts, promote_options="permissive")
        names = whole.column(column)
        whole = whole.drop_columns([column])
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
    return Found(files, problems)
