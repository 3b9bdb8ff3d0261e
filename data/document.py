"""Documents and folders that appear whole or not at all, and JSON that is validated on reading."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from hybridtune.data.schema import InputError, refuse_non_utf8
from hybridtune.data.text import shown

TEMPORARY = ".tmp"
"""End of the name of a file that is not whole yet."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a quota, or the size of a file."""


class Document(BaseModel):
    """Base of every JSON file we write: frozen, no unknown keys, one format version a class."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
    current_version: ClassVar[int] = 1

    version: int = 1

    def encode(self) -> bytes:
        """As `read` takes it."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def write(self, path: Path) -> None:
        write_atomically(path, self.encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError if the file is missing, of another version, or does not fit the class."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        return cls.decode(text, path)

    @classmethod
    def decode(cls, text: str, source: object) -> Self:
        """Raises InputError if it is of another version, or does not fit the class. source: where it is from, for
        people.
        """
        # First, as another version may have other keys.
        version = _version(text)
        if version not in (None, cls.current_version):
            raise InputError(
                f"{source} has format version {version}, this program reads {cls.current_version}: "
                "use the version of hybridtune that wrote it"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{source} is not a valid {cls.__name__}: {first_problem(error)}") from None


def _version(text: str) -> Any:
    """The version that a JSON object states, None if it is no JSON object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("version", 1) if isinstance(content, dict) else None


def first_problem(error: ValidationError) -> str:
    """The first violation as one line: where, what, and the value seen."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    # Our own rules state the value themselves.
    seen = "" if problem["type"] == "value_error" else f", got {shown(problem['input'])}"
    return f"{where}{': ' if where else ''}{problem['msg'].removeprefix('Value error, ')}{seen}{more}"


def write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, even after a power cut."""
    with new_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a name to write to; that file takes the place of `path` when the block ends and vanishes if it raises.

    A reader sees the old file or the new one, even after a power cut.
    """
    temporary = _temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def create_atomically(path: Path, content: bytes) -> bool:
    """Like `write_atomically`, but never over another file: returns False where there is one. Of several processes that
    try at once, on whichever hosts, one succeeds.
    """
    temporary = _temporary_name(path)
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        # Unlike a rename, a link fails where the name is taken, on network file systems too.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    return True


def _temporary_name(path: Path) -> Path:
    # Processes of other hosts may write here too, so their numbers do not tell them apart.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to fill; it becomes `path` when the block ends and vanishes if the block raises.

    Parents are made where they are missing, and taken away again if the block raises. Raises InputError if `path`
    exists already or cannot be written.
    """
    refuse_non_utf8(path)
    refuse_existing(path)
    missing_parents = [parent for parent in path.parents if not parent.exists()]
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        _remove_empty(missing_parents)
        raise InputError(f"{path} cannot be written ({error.strerror}): name another path") from None
    try:
        yield temporary
        refuse_existing(path)
        temporary.rename(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(missing_parents)
        if isinstance(error, OSError) and error.errno in FULL:
            raise InputError(
                f"{path} cannot be written ({os.strerror(error.errno)}): free some space or name another path"
            ) from None
        raise
    _sync(path.parent)


def refuse_existing(path: Path) -> None:
    if path.parts[:1] == ("s3:",):
        raise InputError(f"{path} would be a folder on this host: a run or what `prepare` makes may lie in a bucket")
    # A dangling link counts: what is renamed onto it would vanish.
    if os.path.lexists(path):
        raise InputError(f"{path} exists already: name another path or remove it")


def _remove_empty(folders: list[Path]) -> None:
    """The deepest first; one that somebody filled meanwhile stays."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _sync(path: Path) -> None:
    """A file's content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
