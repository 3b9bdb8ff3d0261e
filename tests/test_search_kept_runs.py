"""Runs that are kept in a bucket or on a mount: who works on them, what is in the place and when, how it comes back."""

import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest

from hybridtune.data.document import write_atomically
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.dashboard.status import read_status
from hybridtune.search.pipeline import Changes, launch, resume
from hybridtune.search.run import copies, datasets, keeper, lease
from hybridtune.search.run import stop as stop_module
from hybridtune.search.run.keeper import PlaceKeeper
from hybridtune.search.run.lease import DeposedError, Lease, claim, latest, refuse_deposed
from hybridtune.search.run.location import Location, locate
from hybridtune.search.run.opening import create_run, driving, exists, open_run, refuse_existing_run
from hybridtune.search.run.place import FolderPlace, Place, PlaceError
from hybridtune.search.run.run_dir import LOCK, RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.run.stop import stop
from hybridtune.spaces.hybrid import HYBRID


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SILENT_SECONDS", 0.6)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 0.1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "place").mkdir()
    return FolderPlace(tmp_path / "place")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "tune").mkdir(parents=True)
    return made


@pytest.fixture
def location(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A run that is kept in `place`, as a mount would be."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "place" / "leases").mkdir()
    return locate(tmp_path / "place")


def settings(dataset: Path = Path("/nowhere")) -> Settings:
    return Settings(dataset=dataset, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference)


def nothing(text: str) -> None:
    pass


class Failing:
    """Another place until it fails."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.fails = False

    def __getattr__(self, name: str):
        if self.fails:
            raise PlaceError("the bucket is gone")
        return getattr(self._place, name)


class Slow(Failing):
    """Another place whose writes take their time."""

    def __init__(self, place: Place, seconds: float) -> None:
        super().__init__(place)
        self._seconds = seconds
        self.written: list[str] = []

    def write(self, name: str, content: bytes) -> None:
        if not name.startswith("leases"):
            time.sleep(self._seconds)
            self.written.append(name)
        self._place.write(name, content)


@pytest.fixture
def kept(place: Place, folder: Path) -> Iterator[PlaceKeeper]:
    made = PlaceKeeper(place, folder, claim(place, nothing))
    made.start()
    yield made
    with suppress(Exception):
        made.end()


# Who works on a run


def test_each_driver_claims_the_next_epoch_and_an_ended_one_is_not_waited_for(place: Place) -> None:
    first = claim(place, nothing)
    place.write(first.name, first.beat(ended=True).encode())
    began = time.monotonic()
    second = claim(place, nothing)
    assert time.monotonic() - began < 0.5
    assert (first.epoch, second.epoch) == (1, 2)
    with pytest.raises(DeposedError, match="has taken over"):
        refuse_deposed(place, first)
    refuse_deposed(place, second)


def test_a_silent_driver_is_waited_for_and_then_succeeded(place: Place) -> None:
    claim(place, nothing)
    said: list[str] = []
    began = time.monotonic()
    assert claim(place, said.append).epoch == 2
    assert time.monotonic() - began >= 0.6
    assert "waiting" in said[0]


def test_a_driver_that_is_alive_is_left_alone(place: Place, kept: PlaceKeeper) -> None:
    with pytest.raises(InputError, match=r"works on .*: wait for it, or `hybridtune stop"):
        claim(place, nothing)
    kept.check()


def test_a_driver_that_ends_while_it_is_waited_for_is_succeeded_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENT_SECONDS", 30.0)
    first = claim(place, nothing)
    ending = threading.Timer(0.3, lambda: place.write(first.name, first.beat(ended=True).encode()))
    ending.start()
    assert claim(place, nothing).epoch == 2
    ending.join()


def test_of_two_that_take_over_at_once_one_does(place: Place) -> None:
    first = claim(place, nothing)
    place.write(first.name, first.beat(ended=True).encode())
    barrier = threading.Barrier(2)
    outcomes: list[object] = []

    def take_over() -> None:
        barrier.wait()
        try:
            outcomes.append(claim(place, nothing))
        except InputError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take_over) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
    # The slower of them may come after the claim, and then waits in vain for it to go on.
    assert [one.epoch for one in claimed] in ([2], [2, 3])


# What is in the place, and when


def test_the_curve_is_there_before_the_study_and_both_before_what_waits_for_them(place: Place, folder: Path) -> None:
    slow = Slow(place, 0.05)
    made = PlaceKeeper(slow, folder, claim(place, nothing))
    made.start()
    write_atomically(folder / copies.STUDY_BACKUP, b"study 1")
    write_atomically(folder / copies.CURVE_LOG, b"curve 1")
    removed: list[tuple[bytes | None, list[str]]] = []
    made.keep_search(lambda: removed.append((place.read("drivers/000001/study.db"), list(slow.written))))
    made.flush()
    assert removed == [(b"study 1", ["drivers/000001/tune/curves.jsonl", "drivers/000001/study.db"])]
    made.end()


def test_changes_gather_while_the_store_is_slow(place: Place, folder: Path) -> None:
    slow = Slow(place, 0.2)
    made = PlaceKeeper(slow, folder, claim(place, nothing))
    made.start()
    done: list[int] = []
    began = time.monotonic()
    for number in range(50):
        write_atomically(folder / copies.STUDY_BACKUP, str(number).encode())
        made.keep_search(lambda number=number: done.append(number))
    assert time.monotonic() - began < 1.0
    made.end()
    assert done == list(range(50))
    assert place.read("drivers/000001/study.db") == b"49"
    assert slow.written.count("drivers/000001/study.db") <= 5
    assert latest(place) is not None
    assert latest(place).ended


def test_how_far_the_copy_is_behind_is_said_with_each_beat(place: Place, folder: Path) -> None:
    slow = Slow(place, 0.0)
    made = PlaceKeeper(slow, folder, claim(place, nothing))
    made.start()
    time.sleep(0.3)
    assert latest(place).beats > 0
    assert latest(place).behind == 0.0
    made.end()


def test_a_deposed_driver_removes_nothing_and_hears_of_it(place: Place, folder: Path) -> None:
    mine = claim(place, nothing)
    made = PlaceKeeper(place, folder, mine)
    # As if this process had been stopped for long: no beat, and a successor.
    claim(place, nothing)
    removed: list[str] = []
    made.start()
    made.keep_search(lambda: removed.append("checkpoint"))
    with pytest.raises(DeposedError, match=r"has taken over .* as this one was silent for too long"):
        made.flush()
    assert removed == []
    with pytest.raises(DeposedError):
        made.keep(copies.RUN)
    with pytest.raises(DeposedError):
        made.end()
    assert not latest(place).ended


def test_a_place_that_is_lost_ends_the_work(place: Place, folder: Path) -> None:
    failing = Failing(place)
    made = PlaceKeeper(failing, folder, claim(place, nothing))
    made.start()
    failing.fails = True
    made.keep_search()
    with pytest.raises(PlaceError, match="the bucket is gone"):
        made.flush()
    with pytest.raises(PlaceError, match="the bucket is gone"):
        made.check()


# How it comes back


def test_the_newest_whole_copy_is_fetched_and_what_is_older_here_goes(place: Place, folder: Path) -> None:
    for name, content in {
        "drivers/000001/run.json": b"first",
        "drivers/000001/ensemble.json": b"first",
        "drivers/000002/run.json": b"second",
        "drivers/000002/study.db": b"second",
        # Its driver has claimed the run and not begun.
        "drivers/000003/study.db": b"third",
        "members/a/member.json": b"{}",
        "members/a/model-1.safetensors": b"weights",
        "members/a/checkpoint-1-000001-000001.pt": b"checkpoint",
    }.items():
        place.write(name, content)
    for stale in ("study.db", "study.db-journal", "study.backup.db", "ensemble.json", "members/b/member.json"):
        (folder / stale).parent.mkdir(parents=True, exist_ok=True)
        (folder / stale).write_bytes(b"stale")
    copies.fetch(place, folder)
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert there == {
        "run.json": b"second",
        "study.db": b"second",
        "members/a/member.json": b"{}",
        "members/a/model-1.safetensors": b"weights",
    }


def test_what_is_looked_at_again_is_fetched_as_far_as_it_has_changed_and_never_away(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look took the copy away and fetched all of it: a dashboard left open moved gigabytes, and who read the run
    beside it found files missing.
    """
    names = ("predictions.parquet", "report/index.html", "run.json", "study.db")
    for name in names:
        place.write(f"drivers/000001/{name}", name.encode())
    fetched: list[str] = []
    missing: list[Path] = []

    def download(self: FolderPlace, name: str, path: Path, moved: Callable[[int], None]) -> bool:
        fetched.append(name.removeprefix("drivers/"))
        missing.extend(file for file in there if not file.exists())
        return original(self, name, path, moved)

    original, there = FolderPlace.download, list[Path]()
    monkeypatch.setattr(FolderPlace, "download", download)
    copies.refresh(place, folder)
    assert sorted(fetched) == [f"000001/{name}" for name in names]
    there += [folder / "study.db", folder / "report" / "index.html"]
    # Written here, by `hybridtune report`.
    (folder / "report" / "index.html").write_text("anew")
    fetched.clear()
    copies.refresh(place, folder)
    assert fetched == []
    assert (folder / "report" / "index.html").read_text() == "anew"
    place.write("drivers/000001/study.db", b"more")
    place.remove("drivers/000001/predictions.parquet")
    copies.refresh(place, folder)
    assert fetched == ["000001/study.db"]
    assert not (folder / "predictions.parquet").exists()
    # Another driver's are all others.
    for name in ("run.json", "study.db", "report/index.html"):
        place.write(f"drivers/000002/{name}", b"second")
    fetched.clear()
    copies.refresh(place, folder)
    assert len(fetched) == 3
    assert (folder / "report" / "index.html").read_bytes() == b"second"
    assert missing == []


def test_a_place_without_a_run_is_said(location: Location) -> None:
    with pytest.raises(InputError, match="holds no run: `hybridtune launch` makes one"):
        open_run(location.name)


def test_the_dataset_comes_from_the_place_where_its_folder_is_not(
    place: Place, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    datasets.keep_of_run(place, dataset)
    fetched = datasets.fetch_of_run(place, dataset.info.fingerprint)
    fetched.verify()
    assert fetched.info == dataset.info
    assert fetched.source == tmp_path / "home" / ".hybridtune" / "datasets" / dataset.info.fingerprint
    with pytest.raises(InputError, match=r"datasets/abc/.* is gone from"):
        datasets.fetch_of_run(place, "abc")


def test_a_run_is_driven_in_one_folder_and_seen_in_another(location: Location, place: Place) -> None:
    refuse_existing_run(location)
    run = create_run(location, settings(), "abc")
    with driving(run, nothing) as driven:
        assert driven.update(epoch=driven.keeper.epoch_after(0)).epoch == 1
        seen = open_run(location.name)
        assert seen.name == location.name
        assert seen.path != driven.path
        driven.update(status="blending")
        assert seen.document().status == "searching"
        assert open_run(location.name).document().status == "blending"
        with pytest.raises(InputError, match="another process works on"), driving(seen, nothing):
            pass
    with pytest.raises(InputError, match="exists already: name another, or `hybridtune resume"):
        refuse_existing_run(location)
    with driving(open_run(location.name), nothing) as driven:
        assert driven.document().status == "blending"
        assert driven.keeper.epoch_after(1) == 2
    # It changed nothing, so what the first had kept is the run.
    assert place.names("drivers") == ["drivers/000001/run.json"]
    with driving(open_run(location.name), nothing) as driven:
        driven.update(status="done")
    assert place.names("drivers") == ["drivers/000003/run.json"]
    assert open_run(location.name).document().status == "done"


def test_the_status_says_who_works_on_it_and_how_far_its_copy_is_behind(location: Location) -> None:
    run = create_run(location, settings(), "abc")
    with driving(run, nothing) as driven:
        driven.update(epoch=1)
        working = read_status(open_run(location.name))
        assert working.driver is not None
        assert (working.driver.process, working.driver.ended, working.driver.behind) == (os.getpid(), False, 0.0)
        assert working.driver.silent < 5
        assert f"driver: process {os.getpid()} on host" in working.text()
    assert read_status(open_run(location.name)).text().splitlines()[-2].endswith(", ended")


def test_a_driver_is_stopped_through_the_place_as_by_ctrl_c(location: Location, place: Place) -> None:
    run = create_run(location, settings(), "abc")
    answers: list[str] = []

    def ask() -> None:
        answers.append(stop(open_run(location.name)))

    with pytest.raises(KeyboardInterrupt), driving(run, nothing) as driven:
        driven.update(epoch=1)
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(20)
    asking.join()
    assert f"process {os.getpid()} on host" in answers[0]
    assert latest(place).ended
    assert place.names("stops") == []
    with pytest.raises(InputError, match=r"nobody works on .*: `hybridtune resume"):
        stop(open_run(location.name))


def test_work_that_failed_gives_the_lease_up_and_says_what_failed(location: Location, place: Place) -> None:
    run = create_run(location, settings(), "abc")
    with pytest.raises(KeyError, match="a bug"), driving(run, nothing):
        raise KeyError("a bug")
    assert latest(place).ended


def test_what_is_left_of_a_run_that_is_gone_from_its_place_is_not_overwritten(location: Location) -> None:
    create_run(location, settings(), "abc")
    with pytest.raises(InputError, match=r"is left of a run in .*, which is gone from there: remove that folder"):
        refuse_existing_run(location)


def test_a_process_that_ends_just_before_it_is_stopped_has_stopped(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    ended = subprocess.Popen(["true"])
    ended.wait()
    with (run.path / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"host": socket.gethostname(), "process": ended.pid}))
        file.flush()
        Timer(0.5, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        assert str(ended.pid) in stop(run)


def test_who_has_ended_is_not_named_to_who_looks_while_the_next_one_begins(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    with run.lock():
        assert str(os.getpid()) in (run.path / LOCK).read_text()
    assert (run.path / LOCK).read_text() == ""


def test_a_run_goes_on_in_a_precision_that_is_there(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster had chosen bf16, and `use --precision fp32` was said by a command that had no such option."""

    def only_fp32(device: object, precision: str) -> None:
        if precision != "fp32":
            raise InputError(f"{device} does not train in {precision} here: use --precision fp32")

    monkeypatch.setattr("hybridtune.search.cluster.workers.refuse_untrainable", only_fp32)
    monkeypatch.setattr("hybridtune.search.pipeline.take_to_end", lambda run, say, workers: None)
    chosen = settings(dataset.source).model_copy(update={"precision": "bf16"})
    run = RunDir.create(tmp_path / "run", chosen, dataset.info.fingerprint)
    with pytest.raises(InputError, match="use --precision fp32"):
        resume(run, nothing)
    resume(run, nothing, Changes(precision="fp32"))
    assert run.document().settings.precision == "fp32"


def test_a_driver_that_died_is_not_waited_for_by_who_asks_it_to_stop(
    location: Location, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to work on, after 100 seconds."""
    monkeypatch.setattr(stop_module, "SILENT_SECONDS", 0.6)
    run = create_run(location, settings(), "abc")
    with driving(run, nothing) as driven:
        driven.update(epoch=1)
    dead = latest(place)
    place.write(dead.name, dead.model_copy(update={"ended": False}).encode())
    with pytest.raises(InputError, match=r"nobody works on .*: `hybridtune resume"):
        stop(open_run(location.name))
    assert place.names("stops") == []


def test_a_launch_that_nobody_could_begin_to_work_on_may_be_given_again(
    location: Location, place: Place, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*given: object) -> None:
        raise PlaceError("the disk is full")

    values = {"trials": 1, "iterations": 1}
    with monkeypatch.context() as refusing:
        refusing.setattr(FolderPlace, "create", ends)
        with pytest.raises(PlaceError, match="the disk is full"):
            launch(dataset.source, location.name, nothing, "basic", values)
    # Where the dataset is not there yet no other host could go on with the run, so it is not there either.
    with monkeypatch.context() as losing:
        losing.setattr(RunDir, "keep_dataset", ends)
        with pytest.raises(PlaceError, match="the disk is full"):
            launch(dataset.source, location.name, nothing, "basic", values)
    assert not exists(location)


def test_a_lease_is_read_with_care(place: Place) -> None:
    place.write("leases/000001.json", json.dumps({"version": 1, "epoch": "x"}).encode())
    with pytest.raises(InputError, match="is not a valid Lease"):
        latest(place)


def test_a_lock_that_names_nobody_yet_or_another_host_signals_no_process(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", settings(), "abc")
    with run.lock():
        (run.path / LOCK).write_text(json.dumps({"host": "elsewhere", "process": os.getpid()}))
        with pytest.raises(InputError, match=r"on host elsewhere works on .*: stop it there"):
            stop(run)
        (run.path / LOCK).write_text("")
        with pytest.raises(InputError, match=r"has just begun to work on .*: try again"):
            stop(run)
