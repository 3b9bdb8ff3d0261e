"""What is known of every file before any is prepared: its columns, and when its bars begin and end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridtune.data.features import FEATURE_NAMES
from hybridtune.data.find import Problem, SeriesFile
from hybridtune.data.read import extra_columns, time_span
from hybridtune.data.schema import InputError
from hybridtune.data.text import shown


@dataclass(frozen=True)
class Surveyed:
    file: SeriesFile
    extras: tuple[str, ...]
    first: np.datetime64 | None
    last: np.datetime64 | None
    """Minutes of its rows; None if none has a time."""


def survey(file: SeriesFile) -> Surveyed | Problem:
    try:
        extras = extra_columns(file.path)
        if computed := sorted(set(extras) & set(FEATURE_NAMES)):
            raise InputError(f"{file.path}: column '{computed[0]}' has the name of a computed feature: rename it")
        first, last = time_span(file.path) or (None, None)
    except InputError as error:
        return Problem(file.path, str(error))
    return Surveyed(file, extras, first, last)


def usual_extras(files: Sequence[Surveyed]) -> tuple[tuple[str, ...], list[Problem]]:
    """The extra columns that most files have, and the files that have others."""
    (usual, _), *_ = Counter(one.extras for one in files).most_common(1)
    reason = (
        "{} has extra columns {} where most files have {}: give it the same columns or put it into a dataset of its own"
    )
    others = [one for one in files if one.extras != usual]
    return usual, [
        Problem(one.file.path, reason.format(one.file.path, shown(list(one.extras)), shown(list(usual))))
        for one in others
    ]


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
