"""Where a run is: a folder, or a place that hosts share, with a folder of each host to work in.

SQLite's file must lie on a disk of the host that writes it: a network file system's locks cannot be trusted, and a
bucket has none.
"""

import getpass
import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hybridtune.data.schema import InputError
from hybridtune.search.run.lease import FOLDER as LEASES
from hybridtune.search.run.place import FolderPlace, Place
from hybridtune.search.run.s3_place import SCHEME, S3Place

NETWORK = re.compile(r"(nfs\d?|cifs|smb\w*|ceph|lustre|gpfs|beegfs\w*|glusterfs|afs|fuse\..+)")
"""Types of file systems, as the kernel names them. What mounts a bucket is one too (fuse.mount-s3, fuse.gcsfuse)."""


@dataclass(frozen=True)
class Location:
    name: str
    """What people call it."""
    path: Path
    """The run itself, or this host's folder for it."""
    place: Place | None = None
    """None: the run is the folder."""


def locate(name: str | Path) -> Location:
    """s3://bucket/prefix, or a folder. Raises InputError for another URL."""
    text = str(name)
    if text.startswith(SCHEME):
        place = S3Place.at(text)
        return Location(str(place), _working_folder(str(place)), place)
    if "://" in text:
        raise InputError(f"a run is a folder or s3://bucket/prefix, got {text!r}")
    path = Path(text).expanduser()
    full = path.resolve()
    # A run that was made elsewhere and copied here is a folder like any other.
    if (path / LEASES).is_dir() or (is_on_network(full) and not (path / "run.json").exists()):
        return Location(text, _working_folder(str(full)), FolderPlace(full))
    return Location(text, path)


def is_on_network(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """path: absolute; it need not exist. False on systems without such a list."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    # The kernel writes a space as \040. Of two mounts at one point the later hides the other.
    points = {Path(_unescaped(point)): kind for _, point, kind, *_ in lines}
    under = max((point for point in points if path.is_relative_to(point)), key=lambda p: len(p.parts), default=None)
    return under is not None and NETWORK.fullmatch(points[under]) is not None


def _unescaped(point: str) -> str:
    return re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)


def _working_folder(name: str) -> Path:
    last = name.rstrip("/").rpartition("/")[2]
    return own_folder() / "runs" / f"{last}-{name_digest(name)}"


def own_folder() -> Path:
    """On a disk of this host, even if homes are shared."""
    home = Path.home() / ".hybridtune"
    return Path(tempfile.gettempdir()) / f"hybridtune-{getpass.getuser()}" if is_on_network(home) else home


def name_digest(name: str) -> str:
    """Stands for a run's name where that could not."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]
