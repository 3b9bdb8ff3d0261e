"""Where a run keeps what its workers write, reached from whichever host they are on."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hybridtune.data.document import TEMPORARY, create_atomically, new_file, write_atomically
from hybridtune.data.schema import InputError

Moved = Callable[[int], None]
"""Told how many further bytes have been moved, from any thread."""


class PlaceError(InputError):
    """The place cannot be used from this host. Nothing is wrong with what was to be read or written."""


class Place(Protocol):
    """Named pieces of bytes, each whole or not there. A name is a path below the run, with "/" between its parts.

    It is handed to workers, so it pickles. As a string it is what people call it. Every method raises PlaceError where
    the place cannot be used.
    """

    def check(self) -> None:
        """Raises PlaceError within 15 seconds if the place cannot be used; the others try for longer."""

    def read(self, name: str) -> bytes | None:
        """None if there is nothing of that name."""

    def write(self, name: str, content: bytes) -> None: ...

    def upload(self, name: str, path: Path, moved: Moved) -> None:
        """As `write`, of a file that need not fit into memory."""

    def download(self, name: str, path: Path, moved: Moved) -> bool:
        """Into a file that appears whole or not at all; whether there is something of that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Writes it unless something else has that name already; whether it is there now. Of several hosts that try at
        once, one succeeds.
        """

    def names(self, folder: str) -> list[str]:
        """All that lies below `folder`, at any depth, sorted."""

    def stamps(self, folder: str) -> dict[str, str]:
        """All names below `folder`, each with what differs when what it holds does."""

    def remove(self, name: str) -> None:
        """With what killed processes left of it half written; nothing, where there is nothing of that name."""


@dataclass(frozen=True)
class FolderPlace:
    """A folder that every host sees under the same path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        # Where the folder is not shared, it would be made here, and nobody would ever find what is in it.
        if not self.path.is_dir():
            raise PlaceError(
                f"{self.path} is not on this host: every host of the cluster has to see it (a shared mount)"
            )

    def read(self, name: str) -> bytes | None:
        self.check()
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        write_atomically(self._parent_made(name), content)

    def upload(self, name: str, path: Path, moved: Moved) -> None:
        _copy(path, self._parent_made(name), moved)

    def download(self, name: str, path: Path, moved: Moved) -> bool:
        self.check()
        found = (self.path / name).is_file()
        if found:
            _copy(self.path / name, path, moved)
        return found

    def create(self, name: str, content: bytes) -> bool:
        return create_atomically(self._parent_made(name), content) or self.read(name) == content

    def names(self, folder: str) -> list[str]:
        return sorted(path.relative_to(self.path).as_posix() for path in self._files(folder))

    def stamps(self, folder: str) -> dict[str, str]:
        found = {}
        for path in self._files(folder):
            about = path.stat()
            # A file that is written anew is another one.
            found[path.relative_to(self.path).as_posix()] = f"{about.st_ino}-{about.st_mtime_ns}-{about.st_size}"
        return found

    def remove(self, name: str) -> None:
        self.check()
        path = self.path / name
        for left in (path, *path.parent.glob(f".{path.name}.*{TEMPORARY}")):
            left.unlink(missing_ok=True)

    def _files(self, folder: str) -> Iterator[Path]:
        self.check()
        for path in (self.path / folder).rglob("*"):
            if path.is_file() and not path.name.endswith(TEMPORARY):
                yield path

    def _parent_made(self, name: str) -> Path:
        self.check()
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _copy(source: Path, target: Path, moved: Moved) -> None:
    with new_file(target) as temporary:
        shutil.copyfile(source, temporary)
    moved(target.stat().st_size)
