"""The hybridtune that runs here, as an archive: a job of a cluster runs this very code, whatever is installed there."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

PACKAGE = "hybridtune"


@contextmanager
def package(files: Mapping[str, Path]) -> Iterator[Path]:
    """A zip archive, gone with the block. Ray unpacks it where the job runs, and Python looks there first.

    files: what lies beside the code, by name.
    """
    installed = distribution(PACKAGE)
    contents = {
        **dict(_code()),
        f"{PACKAGE}-{installed.version}.dist-info/METADATA": (installed.read_text("METADATA") or "").encode(),
        **{name: path.read_bytes() for name, path in files.items()},
    }
    with TemporaryDirectory(prefix="hybridtune-") as folder:
        path = Path(folder) / f"{PACKAGE}.zip"
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for name, content in sorted(contents.items()):
                # Of no date: equal code makes an equal archive, which the cluster has already.
                archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)
        yield path


def _code() -> Iterator[tuple[str, bytes]]:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    # A checkout's parts are links.
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(folder) / name
            yield f"{PACKAGE}/{path.relative_to(root).as_posix()}", path.read_bytes()
