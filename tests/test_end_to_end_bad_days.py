"""Days on which nothing works: no space on the disk, trials that all fail, a run that may not be written."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from conftest import HYBRIDTUNE, SMALL_LAUNCH, SMALL_SPACE, Workplace, as_nobody

from hybridtune.data.schema import InputError
from hybridtune.search.pipeline import Changes, resume
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import open_study
from hybridtune.spaces.hybrid import HYBRID

pytestmark = pytest.mark.slow

FULL_DISK = """
set -e
mkdir disk && mount -t tmpfs -o size=8m none disk
"$1" launch "$2" --run disk/run {options} > launch.out 2> launch.err &
launched=$!
until [ "$(cat disk/run/tune/curves.jsonl 2>/dev/null | wc -l)" -ge 2 ]; do kill -0 $launched; sleep 0.05; done
cat /dev/zero > disk/filler 2> /dev/null || true
set +e
wait $launched; echo $? > launch.status
cp disk/run/run.json before.json
rm disk/filler
"$1" resume disk/run > resume.out 2> resume.err; echo $? > resume.status
cp -r disk/run run
"""
"""In a mount namespace of its own, where a small disk can be made and filled: by us, as the search runs."""

HOPELESS = """
base: hybrid
dimensions:
  hidden_size: 2000000000
  attention_heads: 2
  layers: 1
"""
"""No machine has the memory of one model."""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    return Workplace(tmp_path)


def test_a_full_disk_ends_the_search_with_one_line_and_nothing_is_lost(place: Workplace, finished: Workplace) -> None:
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode != 0:
        pytest.skip("no disk of our own can be mounted")
    script = FULL_DISK.format(options=" ".join((*SMALL_LAUNCH, "--iterations", "6")))
    command = place.start_program(
        *("unshare", "-rm", "bash", "-c", script, "full"), HYBRIDTUNE, str(finished.path / "dataset")
    )
    try:
        assert command.wait() == 0, command.stderr
    finally:
        command.kill()
    said = (place.path / "launch.err").read_text()
    assert (place.path / "launch.status").read_text() == "1\n"
    assert "a disk is full (" in said
    assert "make space, then `hybridtune resume" in said
    assert said.count("\n") == 1
    assert (place.path / "resume.status").read_text() == "0\n", (place.path / "resume.err").read_text()
    trials = pd.read_parquet(place.path / "run" / "trials.parquet")
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert len(trials) == 4
    curves = pd.read_parquet(place.path / "run" / "curves.parquet")
    assert curves.groupby("trial")["iteration"].apply(list).tolist() == [
        list(range(1, iterations + 1)) for iterations in trials["iterations"]
    ]


def test_a_search_whose_trials_all_fail_stops_soon_with_the_first_traceback(
    place: Workplace, finished: Workplace
) -> None:
    (place.path / "hopeless.yaml").write_text(HOPELESS)
    launch = ("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH, "--space", "hopeless.yaml")
    failed = place.run(*launch, "--trials", "50")
    assert failed.process.returncode == 1
    assert failed.stdout.count("the first traceback: ") == failed.stdout.count("in make_lstm") == 1
    assert "(raylet)" not in failed.stdout
    (line,) = failed.stderr.splitlines()
    assert "none of 5 trials was trained to its end: RuntimeError: [enforce fail" in line
    assert "allocate memory" in line
    tracebacks = Path(line.partition("traceback in ")[2].removesuffix(" (--debug shows where)"))
    assert "in make_lstm" in tracebacks.read_text()
    document = RunDir.open(place.path / "run").document()
    assert (document.status, document.error in line) == ("failed", True)


def test_a_space_of_a_single_point_is_searched_by_its_one_trial(place: Workplace, finished: Workplace) -> None:
    point = HYBRID.default() | {"hidden_size": 16, "attention_heads": 2, "windows": "15", "attention_span": 240}
    (place.path / "point.yaml").write_text(json.dumps({"base": "hybrid", "dimensions": point}))
    output = place.succeed(
        *("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH, "--space", "point.yaml"),
        *("--seeds", "1"),
    )
    assert "search: 1 trials" in output
    assert [trial.state.name for trial in open_study(RunDir.open(place.path / "run")).trials] == ["COMPLETE"]


def test_a_run_that_may_not_be_written_is_refused_and_left_as_it_is(finished: Workplace, open_folder: Path) -> None:
    shutil.copytree(finished.path / "run", open_folder / "run")
    shutil.copytree(finished.path / "dataset", open_folder / "dataset")
    run = RunDir.open(open_folder / "run")
    run.update(settings=run.document().settings.model_copy(update={"dataset": open_folder / "dataset"}).model_dump())
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"run cannot be written \(Permission denied\)"):
        as_nobody(lambda: resume(run, print, Changes(more_trials=1)))
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    with pytest.raises(InputError, match=r"new cannot be written \(Permission denied\): name another path"):
        as_nobody(lambda: RunDir.create(open_folder / "new", run.document().settings, "abc"))


def test_a_run_made_with_other_versions_says_so_and_goes_on(finished: Workplace, place: Workplace) -> None:
    shutil.copytree(finished.path / "run", place.path / "run")
    run = RunDir.open(place.path / "run")
    run.update(versions=run.document().versions | {"torch": "1.0.0"})
    said: list[str] = []
    resume(run, said.append)
    assert any(line.startswith("this run was started with torch 1.0.0 (this is 2.") for line in said)
