"""Pieces of bytes that any host may write."""

import pickle
from pathlib import Path

import pytest

from hybridtune.data.schema import InputError
from hybridtune.search.run.place import FolderPlace


def test_what_is_written_is_read_by_its_name_on_any_host(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    assert place.read("tune/trial_00000/checkpoint.pt") is None
    place.write("tune/trial_00000/checkpoint.pt", b"one")
    place.write("tune/trial_00000/checkpoint.pt", b"two")
    assert str(place) == str(tmp_path)
    assert pickle.loads(pickle.dumps(place)).read("tune/trial_00000/checkpoint.pt") == b"two"
    place.remove("tune/trial_00000/checkpoint.pt")
    place.remove("tune/trial_00000/checkpoint.pt")
    assert place.read("tune/trial_00000/checkpoint.pt") is None


def test_a_folder_that_is_not_there_is_never_made(tmp_path: Path) -> None:
    """What a worker wrote to it would be lost with its host, and the training begun anew in silence."""
    place = FolderPlace(tmp_path / "mount" / "run")
    for work in (lambda: place.read("a"), lambda: place.write("a", b""), lambda: place.remove("a")):
        with pytest.raises(InputError, match="is not on this host: every host of the cluster has to see it"):
            work()
    assert not (tmp_path / "mount").exists()
