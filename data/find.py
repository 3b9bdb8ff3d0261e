"""Which files below a folder are series, and what looks like one but is not."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hybridtune.data.columns import KNOWN
from hybridtune.data.schema import InputError

SUFFIXES = (".parquet", ".csv", ".feather", ".json")
NAMED = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


@dataclass(frozen=True)
class SeriesFile:
    """Where one token's bars lie. The folder it lies in, if below the raw folder, is its category."""

    path: Path
    """For people, where `copy` holds the bars."""
    name: str
    category: str
    more: tuple[Path, ...] = ()
    """Further files of the same series."""
    copy: Path | None = None
    """The sorted copy of the table that it comes from."""
    batch: int = 0
    """Its number in that copy."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path, *self.more)


@dataclass(frozen=True)
class Problem:
    """An entry that cannot be used, with the reason in one line."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Found:
    files: list[SeriesFile]
    problems: list[Problem]


def find_series(folder: Path, key: str | None = None) -> Found:
    """Every series below `folder`, or that single file, in a fixed order; links are followed. What begins with a dot is
    left out: editors and systems keep copies there.

    The files below a folder named `token=A` are parts of the series A. key: the name before the sign, beside those that
    are known. Otherwise a name stands for one series: of several files of one name the first is it.

    Raises InputError if there is none.
    """
    if folder.is_file():
        if folder.suffix.lower() not in SUFFIXES:
            raise InputError(f"{folder} is no {NAMED} file: name a table of series, or the folder that holds them")
        return Found([SeriesFile(folder, folder.stem, "")], [])
    _refuse_no_folder(folder)
    found = _walk(folder)
    keys = {*KNOWN["id"]} if key is None else {key.lower()}
    whole, parts = _by_key(sorted(found.files, key=lambda file: file.path), folder, keys)
    files, twins = by_name([*whole, *parts])
    problems = sorted(found.problems, key=lambda problem: problem.path) + twins
    if not files and problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{folder} holds no file of a series that can be used: {problems[0].reason}{more}")
    if not files:
        raise InputError(f"{folder} holds no {NAMED} file: one file a token is expected")
    return Found(files, problems)


def _refuse_no_folder(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        raise InputError(
            f"{folder} does not exist: name a folder of <token>.parquet or <token>.csv files, or one table"
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}): allow it or name another folder") from None


def _walk(root: Path) -> Found:
    found = Found([], [])
    # Each folder with those above it, which a link may lead back to.
    waiting: list[tuple[Path, frozenset[str]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
            real = os.path.realpath(folder, strict=True)
        except OSError as error:
            reason = f"{folder} cannot be listed ({error.strerror}): allow it or move the folder elsewhere"
            found.problems.append(Problem(folder, reason))
            continue
        if real in above:
            reason = f"{folder} leads back to a folder above it: remove the link"
            found.problems.append(Problem(folder, reason))
            continue
        for entry in shown:
            path = folder / entry.name
            kind = _kind(entry, path)
            if kind == "folder":
                waiting.append((path, above | {real}))
            elif kind == "series":
                found.files.append(SeriesFile(path, path.stem, "" if folder == root else folder.name))
            elif isinstance(kind, Problem):
                found.problems.append(kind)
    return found


def _kind(entry: "os.DirEntry[str]", path: Path) -> Literal["folder", "series"] | Problem | None:
    """None for what neither is a series nor looks like one."""
    looks_like_series = path.suffix.lower() in SUFFIXES
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
        if not (is_folder or is_file):
            # Raises for a link to nothing, which may stand for a series or for a folder of them.
            entry.stat()
    except OSError as error:
        return Problem(path, f"{path} cannot be reached ({error.strerror}): remove the link or allow the access")
    if is_folder:
        return Problem(path, f"{path} is a folder named like a file: rename it") if looks_like_series else "folder"
    if not looks_like_series:
        return None
    return "series" if is_file else Problem(path, f"{path} is no plain file: write the series to one")


def _by_key(files: Sequence[SeriesFile], root: Path, keys: set[str]) -> tuple[list[SeriesFile], list[SeriesFile]]:
    """The files that are a series by themselves, and the series of which the others are parts."""
    whole: list[SeriesFile] = []
    parts: dict[str, list[SeriesFile]] = {}
    for file in files:
        folders = [part.partition("=") for part in file.path.relative_to(root).parts[:-1]]
        named = [name for key, sign, name in folders if sign and key.lower() in keys]
        if named:
            parts.setdefault(named[-1], []).append(file)
        else:
            whole.append(file)
    series = []
    for name, members in parts.items():
        above = [part for part in members[0].path.relative_to(root).parts[:-1] if "=" not in part]
        more = tuple(file.path for file in members[1:])
        series.append(replace(members[0], name=name, category=above[-1] if above else "", more=more))
    return whole, series


def by_name(files: Sequence[SeriesFile]) -> tuple[list[SeriesFile], list[Problem]]:
    """Those that have a name of their own, or had it first, and why not the others."""
    first: dict[str, SeriesFile] = {}
    for file in files:
        first.setdefault(file.name, file)
    twins = [file for file in files if first[file.name] is not file]
    reason = "{}: another series is named {} too, rename one"
    return list(first.values()), [Problem(file.path, reason.format(file.path, file.name)) for file in twins]
