"""What is known of every series before any is prepared: its columns, and when its bars begin and end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hybridtune.data.columns import RATIOS, Columns, extras_of, misspelt, recognise
from hybridtune.data.features import FEATURE_NAMES
from hybridtune.data.find import Problem, SeriesFile
from hybridtune.data.long_tables import id_column
from hybridtune.data.read import time_span
from hybridtune.data.schema import InputError
from hybridtune.data.tables import column_names, refusing
from hybridtune.data.text import shown


class Layout(NamedTuple):
    """What all series of a dataset have in common."""

    columns: Columns
    extras: tuple[str, ...]
    """The features beside the computed ones: ratios, then further columns in order of name."""


@dataclass(frozen=True)
class Surveyed:
    file: SeriesFile
    layout: Layout
    names: tuple[str, ...]
    """Of its columns."""
    first: np.datetime64 | None
    last: np.datetime64 | None
    """Minutes of its bars; None if it has none."""


@dataclass(frozen=True)
class LongTable:
    """A file that holds many series."""

    file: SeriesFile
    id: str
    """The column that names them."""


def survey(file: SeriesFile, given: Mapping[str, str]) -> Surveyed | LongTable | Problem:
    """given: role -> column, as the user says."""
    try:
        with refusing(file.path):
            names = column_names(file)
        if (key := _id_column(file, names, given)) is not None:
            return LongTable(file, key)
        columns = recognise(names, given, file.path)
        extras = extras_of(names, columns)
        if computed := sorted({*extras} & {*FEATURE_NAMES, *RATIOS.values()}):
            raise InputError(f"{file.path}: column '{computed[0]}' has the name of a computed feature: rename it")
        for name in extras:
            if (role := misspelt(name, columns)) is not None:
                raise InputError(
                    f"{file.path} has column {shown(name)} and none for the {role}: rename it, or say --columns "
                    f"{role}={name}"
                )
        first, last = time_span(file, columns) or (None, None)
    except InputError as error:
        return Problem(file.path, str(error))
    return Surveyed(file, Layout(columns, columns.ratios + extras), tuple(names), first, last)


def _id_column(file: SeriesFile, names: Sequence[str], given: Mapping[str, str]) -> str | None:
    """None for the file of a single series."""
    if (named := given.get("id")) is not None:
        return named if named in names and file.copy is None else None
    return id_column(file, names)


def usual_layout(files: Sequence[Surveyed]) -> tuple[Layout, list[Problem]]:
    """The columns that most series have, and the series that have others. Some may be of long tables, and others of
    files of their own, where nothing names them.
    """
    (usual, _), *_ = Counter(_nameless(one.layout) for one in files).most_common(1)
    named_by = next((one.layout.columns.id for one in files if one.layout.columns.id is not None), None)
    others = [Problem(one.file.path, _difference(one, usual)) for one in files if not is_laid_out(one, usual)]
    return usual._replace(columns=usual.columns.model_copy(update={"id": named_by})), others


def is_laid_out(one: Surveyed, usual: Layout) -> bool:
    return _nameless(one.layout) == _nameless(usual)


def _nameless(layout: Layout) -> Layout:
    return layout._replace(columns=layout.columns.model_copy(update={"id": None}))


def _difference(one: Surveyed, usual: Layout) -> str:
    remedy = "give it the same columns or put it into a dataset of its own"
    if _nameless(one.layout).columns == usual.columns:
        mine, theirs = list(one.layout.extras), list(usual.extras)
        return f"{one.file.path} has extra columns {shown(mine)} where most files have {shown(theirs)}: {remedy}"
    own, other = one.layout.columns.model_dump(), usual.columns.model_dump()
    role = next(role for role in own if role != "id" and own[role] != other[role])
    has, have = ("none" if names[role] is None else shown(names[role]) for names in (own, other))
    return f"{one.file.path}: its column for the {role} is {has}, that of most files {have}: {remedy}"


@dataclass(frozen=True)
class Collection:
    until: np.datetime64
    """The last minute of which trades were collected."""
    latest: str
    """The series whose last bar says so; empty where the user does."""

    def minutes(self, launch: np.datetime64) -> int:
        """From a launch on."""
        return int((self.until - launch).astype(np.int64)) + 1


def collection(files: Sequence[Surveyed], until: np.datetime64 | None) -> Collection:
    """until: as the user says; None for the latest bar of all files.

    Raises InputError if the collection ends before a series begins.
    """
    for one in files:
        if until is not None and one.first is not None and one.first > until:
            raise InputError(
                f"collected-until is {until}, but {one.file.path} begins at {one.first}: name a later time"
            )
    if until is not None:
        return Collection(until, "")
    # A file without any time is refused when it is read.
    lasts = {one.file.name: one.last for one in files if one.last is not None}
    latest = max(lasts, key=lambda name: lasts[name], default="")
    return Collection(lasts.get(latest, np.datetime64(0, "m")), latest)
