"""Where a run is: a folder, a mount, or a bucket."""

from pathlib import Path

import pytest

from hybridtune.data.schema import InputError
from hybridtune.search.run.location import is_on_network, locate
from hybridtune.search.run.opening import open_run
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.hybrid import HYBRID

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /mnt tmpfs rw 0 0
server:/export /mnt/nfs nfs4 rw 0 0
server:/two /mnt/two\\040words nfs rw 0 0
/dev/vdb /mnt/nfs/local xfs rw 0 0
s3fs /mnt/bucket fuse.mount-s3 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/run", False),
        ("/mnt/run", False),
        ("/mnt/nfs/run", True),
        ("/mnt/two words/deep/run", True),
        ("/mnt/nfs/local/run", False),
        ("/mnt/nfsother", False),
        ("/mnt/bucket/run", True),
    ],
)
def test_a_mount_is_known_by_the_kernels_list(tmp_path: Path, path: str, expected: bool) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert is_on_network(Path(path), tmp_path / "mounts") is expected


def test_without_such_a_list_nothing_is_a_mount(tmp_path: Path) -> None:
    assert not is_on_network(Path("/mnt/nfs/run"), tmp_path / "missing")


def test_a_folder_is_the_run_itself(tmp_path: Path) -> None:
    location = locate(tmp_path / "run")
    assert (location.path, location.place) == (tmp_path / "run", None)
    settings = Settings(dataset=Path("/nowhere"), dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference)
    RunDir.create(tmp_path / "run", settings, "abc")
    assert open_run(str(tmp_path / "run")).path == tmp_path / "run"


def test_another_url_is_refused() -> None:
    with pytest.raises(InputError, match="a run is a folder or s3://bucket/prefix, got 'gs://bucket/run'"):
        locate("gs://bucket/run")
