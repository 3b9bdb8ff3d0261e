"""Documents are validated on reading and, like folders, appear whole or not at all."""

import json
import math
import os
import resource
from pathlib import Path
from typing import ClassVar

import pytest

from hybridtune.data.document import Document, new_folder, refuse_existing, write_atomically
from hybridtune.data.schema import InputError


class Note(Document):
    current_version: ClassVar[int] = 2
    version: int = 2
    text: str
    score: float = 0.0


@pytest.mark.parametrize("score", [0.1, math.inf, -math.inf, math.nan])
def test_a_document_reads_back_equal(tmp_path: Path, score: float) -> None:
    Note(text="é", score=score).write(tmp_path / "note.json")
    read = Note.read(tmp_path / "note.json")
    assert (read.text, repr(read.score)) == ("é", repr(score))
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"note\.json is not a valid Note: Invalid JSON"),
        (b'{"text": "a"', r"not a valid Note: Invalid JSON"),
        (b"\xff\xfe", r"note\.json cannot be read: .*decode"),
        (b"[" * 100_000, r"not a valid Note: Invalid JSON: recursion"),
        (b"[1]", r"not a valid Note: .*object"),
        (b'{"version": 2}', r"not a valid Note: text: Field required"),
        (b'{"version": 2, "text": 5}', r"text: Input should be a valid string, got 5"),
        (b'{"version": 2, "text": "a", "more": 1}', r"more: Extra inputs are not permitted, got 1"),
        (b'{"version": 2, "text": 5, "score": "x"}', r"text: .* got 5 \(and 1 more\)"),
        (b'{"version": 3, "text": "a"}', r"has format version 3, this program reads 2: use the version"),
        (b'{"version": 3, "renamed": "a"}', r"has format version 3, this program reads 2"),
        (b'{"text": "a"}', r"has format version 1, this program reads 2"),
    ],
)
def test_a_bad_document_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "note.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Note.read(tmp_path / "note.json")
    assert "\n" not in str(error.value)


def test_a_missing_document_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"note\.json does not exist"):
        Note.read(tmp_path / "note.json")
    with pytest.raises(InputError, match="cannot be read"):
        Note.read(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["note.json"]


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "parent" / "out"
    with new_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
    assert (out / "file").read_text() == "content"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_folder_vanishes_when_its_block_raises(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("content")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists already: name another path or remove it"):
        new_folder(tmp_path / "out").__enter__()
    with pytest.raises(InputError, match="late exists already"), new_folder(tmp_path / "late"):
        (tmp_path / "late").write_text("precious")
    assert (tmp_path / "late").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late", "out"]


def test_what_a_killed_process_left_is_not_in_the_way(tmp_path: Path) -> None:
    killed = new_folder(tmp_path / "out")
    killed.__enter__()
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text(json.dumps(1))
    assert (tmp_path / "out" / "file").exists()


def test_parents_made_for_a_folder_that_failed_are_taken_away_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "mine" / "new" / "a" / "b"):
        raise ZeroDivisionError
    assert list((tmp_path / "mine").iterdir()) == []
    with new_folder(tmp_path / "mine" / "new" / "a" / "b") as folder:
        (folder / "kept").touch()
    assert (tmp_path / "mine" / "new" / "a" / "b" / "kept").exists()


def test_a_full_disk_costs_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of a file is the disk that anybody can fill."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(InputError, match=r"out cannot be written .*: free some space"),
            new_folder(tmp_path / "out") as f,
        ):
            (f / "file").write_bytes(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [os.fsdecode(b"bad\xff"), "file/new", "x" * 300, "dangling"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    with (
        pytest.raises(InputError, match=r"cannot be written|exists already|bad\\xff: the name is not UTF-8"),
        new_folder(tmp_path / place),
    ):
        pytest.fail("the work was begun")
    assert sorted(tmp_path.iterdir()) == before


def test_no_folder_of_the_name_of_a_bucket_is_made_here() -> None:
    """`export run s3://bucket/bundle` said that a bundle was there, and it lay in ./s3:."""
    with pytest.raises(InputError, match=r"s3:/bucket/bundle would be a folder on this host"):
        refuse_existing(Path("s3://bucket/bundle"))
