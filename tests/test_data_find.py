"""Every series below a folder is found, and nothing that looks like one vanishes silently."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import WriteSeries, as_nobody, read

from hybridtune.data.find import SeriesFile, find_series
from hybridtune.data.schema import InputError


def test_files_are_found_below_the_folder_in_order_with_their_folder_as_category(
    tmp_path: Path, write_series: WriteSeries
) -> None:
    for name in ("b.csv", "dead/a.parquet", "x/fast/c.csv"):
        write_series(tmp_path / name, [1.0])
    (tmp_path / "dead" / "notes.txt").write_text("no series")
    found = find_series(tmp_path)
    assert found.files == [
        SeriesFile(tmp_path / "b.csv", "b", ""),
        SeriesFile(tmp_path / "dead/a.parquet", "a", "dead"),
        SeriesFile(tmp_path / "x/fast/c.csv", "c", "fast"),
    ]
    assert found.problems == []


def test_a_link_to_a_folder_or_a_file_is_followed(tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(tmp_path / "elsewhere" / "a.csv", [1.0])
    write_series(tmp_path / "raw" / "b.csv", [1.0])
    (tmp_path / "raw" / "dead").symlink_to("../elsewhere")
    (tmp_path / "raw" / "c.csv").symlink_to("b.csv")
    found = find_series(tmp_path / "raw")
    assert [(file.name, file.category) for file in found.files] == [("b", ""), ("c", ""), ("a", "dead")]
    assert found.problems == []


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("x.csv", lambda path: path.symlink_to("nothing"), r"cannot be reached \(No such file"),
        ("x", lambda path: path.symlink_to("nothing"), r"cannot be reached \(No such file"),
        ("x.csv", lambda path: path.symlink_to("x.csv"), r"cannot be reached \(Too many levels of symbolic links"),
        ("x.csv", lambda path: path.symlink_to("y" * 300), r"cannot be reached \(File name too long"),
        ("x.csv", os.mkfifo, r"is no plain file"),
        ("x.parquet", Path.mkdir, r"is a folder named like a file: rename it"),
        ("x", lambda path: path.symlink_to("."), r"leads back to a folder above it: remove the link"),
        ("x.csv", lambda path: path.symlink_to("."), r"is a folder named like a file"),
        ("z/good.csv", lambda path: path.touch(), r"another series is named good too, rename one"),
    ],
)
def test_what_only_looks_like_a_series_is_a_problem(
    tmp_path: Path, write_series: WriteSeries, name: str, make: Callable[[Path], None], reason: str
) -> None:
    write_series(tmp_path / "good.csv", [1.0])
    (tmp_path / "z").mkdir()
    make(tmp_path / name)
    found = find_series(tmp_path)
    assert [file.name for file in found.files] == ["good"]
    (problem,) = found.problems
    assert problem.path == tmp_path / name
    assert re.search(f"{name} {reason}|{name}: {reason}", problem.reason)


@pytest.mark.parametrize(
    ("closed", "mode", "reason"),
    [
        ("dead", 0o000, r"dead cannot be listed \(Permission denied\): allow it"),
        ("dead", 0o400, r"to_dead\.csv cannot be reached \(Permission denied\)"),
    ],
)
def test_a_folder_that_may_not_be_read_is_a_problem(
    open_folder: Path, write_series: WriteSeries, closed: str, mode: int, reason: str
) -> None:
    write_series(open_folder / "good.csv", [1.0])
    write_series(open_folder / "dead" / "a.csv", [1.0])
    (open_folder / "to_dead.csv").symlink_to("dead/a.csv")
    (open_folder / closed).chmod(mode)
    found = as_nobody(lambda: find_series(open_folder))
    assert "good" in [file.name for file in found.files]
    assert any(re.search(reason, problem.reason) for problem in found.problems)


def test_a_raw_folder_that_may_not_be_read_is_refused_as_such(open_folder: Path, write_series: WriteSeries) -> None:
    write_series(open_folder / "good.csv", [1.0])
    open_folder.chmod(0o000)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\): allow it or name another"):
        as_nobody(lambda: find_series(open_folder))


def test_a_file_that_may_not_be_read_is_refused_as_such(open_folder: Path, write_series: WriteSeries) -> None:
    for name in ("a.csv", "a.parquet"):
        path = write_series(open_folder / name, [1.0])
        read(path)
        path.chmod(0o000)
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\): allow reading it"):
            as_nobody(lambda path=path: read(path))


def test_if_nothing_can_be_used_the_first_problem_says_why(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).symlink_to("nothing")
    with pytest.raises(InputError, match=r"no file of a series that can be used: .*a\.csv .* \(and 1 more\)"):
        find_series(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "missing does not exist: name a folder"),
        ("notes.txt", "notes.txt is no .parquet, .csv, .feather or .json file: name a table"),
        ("empty", "empty holds no .parquet, .csv, .feather or .json file"),
    ],
)
def test_a_place_without_series_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("datetime,price\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_series(tmp_path / name)


def test_upper_case_suffixes_are_found_and_hidden_folders_are_not(tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(tmp_path / "A.CSV", [1.0, 2.0]).rename(tmp_path / "B.CSV")
    write_series(tmp_path / ".checkpoints" / "B.csv", [1.0, 2.0])
    assert [file.path.name for file in find_series(tmp_path).files] == ["B.CSV"]
