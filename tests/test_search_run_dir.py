"""A run directory appears whole, is read with care, and has one owner at a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hybridtune.data.document import write_atomically
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.pipeline import Changes, resume
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import create_study
from hybridtune.spaces.basic import BASIC
from hybridtune.spaces.every import ALL
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Space


def settings(space: Space = HYBRID, dataset: Path = Path("/nowhere/dataset")) -> Settings:
    return Settings(
        dataset=dataset,
        space_name=space.name,
        dimensions=dict(space.dimensions),
        reference=space.reference,
        trials=4,
        concurrent=1,
    )


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.mark.parametrize("space", [HYBRID, BASIC, ALL], ids=lambda space: space.name)
def test_what_was_asked_for_is_read_back_as_it_was(tmp_path: Path, space: Space) -> None:
    asked = settings(space)
    RunDir.create(tmp_path / "run", asked, "abc")
    document = RunDir.open(tmp_path / "run").document()
    assert document.settings == asked
    assert document.settings.space == space
    assert {name: type(d) for name, d in document.settings.dimensions.items()} == {
        name: type(d) for name, d in space.dimensions.items()
    }
    assert (document.dataset_fingerprint, document.status, document.error) == ("abc", "searching", None)
    assert {"hybridtune", "ray", "optuna", "torch", "python"} <= set(document.versions)


@pytest.mark.parametrize("kind", ["run", "folder", "file"])
def test_what_exists_is_refused_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "run":
        RunDir.create(path, settings(), "abc")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        RunDir.create(path, settings(), "other")
    assert listing(tmp_path) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="is not a run directory: `hybridtune launch` makes one"):
            RunDir.open(path)


def edited(run: Path, **changes: object) -> Path:
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | changes))
    return run


def test_a_run_of_a_future_version_is_refused_by_its_version(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", settings(), "abc")
    with pytest.raises(InputError, match="has format version 99"):
        RunDir.open(edited(tmp_path / "run", version=99, something="new"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "resting"}, "status"),
        ({"extra": 1}, "extra"),
        ({"settings": {}}, "settings"),
        ({"versions": 3}, "3"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_by_its_first_problem(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    RunDir.create(tmp_path / "run", settings(), "abc")
    with pytest.raises(InputError, match=problem) as caught:
        RunDir.open(edited(tmp_path / "run", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_damaged_json_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    RunDir.create(tmp_path / "run", settings(), "abc")
    (tmp_path / "run" / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json"):
        RunDir.open(tmp_path / "run")


def test_an_update_changes_what_it_names_and_is_checked(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    before = run.document()
    run.update(status="failed", error="no memory")
    assert run.document() == before.model_copy(update={"status": "failed", "error": "no memory"})
    with pytest.raises(ValueError, match="status"):
        run.update(status="resting")
    assert run.document().status == "failed"


HOLDER = """
import sys, time
from pathlib import Path
from hybridtune.search.run.run_dir import RunDir
with RunDir(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def held_by_another_process(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()


def test_the_lock_is_refused_while_another_process_holds_it_and_free_when_that_is_killed(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    with held_by_another_process(run) as holder:
        with pytest.raises(InputError, match="another process works on"), run.lock():
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with run.lock():
            pass
    with run.lock():
        pass


def test_a_run_that_another_process_works_on_cannot_be_extended(tmp_path: Path, dataset: Dataset) -> None:
    run = RunDir.create(tmp_path / "run", settings(dataset=dataset.source), dataset.info.fingerprint)
    write_atomically(run.ensemble, b"{}")
    with held_by_another_process(run):
        before = listing(run.path)
        with pytest.raises(InputError, match="another process works on"):
            resume(run, print, Changes(more_trials=3))
        assert listing(run.path) == before


def test_what_killed_saves_left_is_taken_away(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    before = listing(run.path)
    for path in (run.path / ".run.json.12.tmp", run.trial(0) / ".checkpoint.pt.7.tmp"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    run.remove_leftovers()
    run.trial(0).rmdir()
    assert listing(run.path) == before


def test_a_run_whose_dataset_is_gone_is_not_resumed(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    with pytest.raises(InputError, match="/nowhere/dataset is not a dataset folder"):
        resume(run, print)
    assert run.document().status == "searching"


def test_the_study_lies_in_the_run_whatever_its_path_means_in_a_url(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r ü?mode=ro#%20 [x]", settings(), "abc")
    create_study(run, HYBRID, "tune_loss")
    assert (run.path / "study.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [run.path.name]


def test_another_dataset_in_the_old_place_is_refused_wherever_it_is_opened(tmp_path: Path, dataset: Dataset) -> None:
    assert isinstance(dataset.source, Path)
    run = RunDir.create(tmp_path / "run", settings(dataset=dataset.source), "the fingerprint of before")
    with pytest.raises(InputError, match="put the old dataset back or launch anew"):
        run.open_dataset()
