"""Where a run keeps what its workers write, reached from whichever host they are on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hybridtune.data.document import TEMPORARY, write_atomically
from hybridtune.data.schema import InputError


class PlaceMissingError(InputError):
    """The place is not there for this host."""


class Place(Protocol):
    """Named pieces of bytes, each whole or not there. A name is a path below the run, with "/" between its parts.

    It is handed to workers, so it pickles. As a string it is what people call it.
    """

    def read(self, name: str) -> bytes | None:
        """None if there is nothing of that name."""

    def write(self, name: str, content: bytes) -> None: ...

    def names(self, folder: str) -> list[str]:
        """All that lies directly in `folder`, sorted."""

    def remove(self, name: str) -> None:
        """With what killed processes left of it half written; nothing, where there is nothing of that name."""


@dataclass(frozen=True)
class FolderPlace:
    """A folder that every host sees under the same path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        self._refuse_missing()
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        # Where the folder is not shared, it would be made here, and nobody would ever find what is in it.
        self._refuse_missing()
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def names(self, folder: str) -> list[str]:
        self._refuse_missing()
        path = self.path / folder
        files = [entry.name for entry in path.iterdir() if entry.is_file()] if path.is_dir() else []
        return sorted(f"{folder}/{name}" for name in files if not name.endswith(TEMPORARY))

    def remove(self, name: str) -> None:
        self._refuse_missing()
        path = self.path / name
        for left in (path, *path.parent.glob(f".{path.name}.*{TEMPORARY}")):
            left.unlink(missing_ok=True)

    def _refuse_missing(self) -> None:
        if not self.path.is_dir():
            raise PlaceMissingError(
                f"{self.path} is not on this host: every host of the cluster has to see it (a shared mount)"
            )
