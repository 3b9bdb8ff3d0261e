"""What goes to a cluster as a job, and how its log is read; without a cluster."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest

import hybridtune.search.cli.main
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.cluster import jobs
from hybridtune.search.cluster.job_log import BEGIN, OwnLines
from hybridtune.search.cluster.job_server import JobServer
from hybridtune.search.cluster.package import package
from hybridtune.search.cluster.token import refuse_open_token_file

AUTO = ("--address", "auto")
SERVER = "http://127.0.0.1:8265"


def test_a_log_that_breaks_off_is_read_on_without_a_gap() -> None:
    log = f"INFO setting up\n{BEGIN}ht-1: exec python\none\ntwo\nthree, without an end"
    for broken_at in range(len(log)):
        written: list[str] = []
        lines = OwnLines(written.append)
        lines.take(log[:broken_at])
        lines.begin_again()
        for piece in (log[:9], log[9:60], log[60:]):
            lines.take(piece)
        lines.end()
        assert written == ["one", "two", "three, without an end"]


def test_a_job_that_never_begins_has_no_lines_of_its_own() -> None:
    written: list[str] = []
    lines = OwnLines(written.append)
    lines.take("INFO setting up\nERROR no space left\n")
    lines.end()
    assert not lines.begun
    assert written == []


def test_the_package_is_the_code_that_runs_here(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("base: basic\n")
    with package({"mine.yaml": space}) as first, package({"mine.yaml": space}) as second:
        assert first.read_bytes() == second.read_bytes()
        ZipFile(first).extractall(tmp_path / "job")
    assert (tmp_path / "job" / "mine.yaml").read_text() == "base: basic\n"
    code = "import hybridtune; print(hybridtune.__file__, hybridtune.__version__); hybridtune.launch"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "job")}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [str(tmp_path / "job" / "hybridtune" / "__init__.py"), hybridtune.__version__]
    helped = [sys.executable, "-m", "hybridtune", "space", "show", "mine.yaml"]
    shown = subprocess.run(helped, cwd=tmp_path / "job", env=environment, capture_output=True, text=True, check=True)
    assert "hidden_size" in shown.stdout


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    refuse_open_token_file()
    (tmp_path / "token").write_text("0" * 32)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(InputError, match=f"others may read the cluster's token in .*: `chmod 600 {tmp_path}/token`"):
        refuse_open_token_file()
    (tmp_path / "token").chmod(0o600)
    refuse_open_token_file()
    (tmp_path / "token").chmod(mode)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    refuse_open_token_file()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[jobs.Command]:
    """Commands that were to be jobs of a server, none of which begins."""
    commands: list[jobs.Command] = []

    def submit(server: JobServer, command: jobs.Command) -> str:
        commands.append(command)
        raise InputError("not sent")

    monkeypatch.setattr(JobServer, "at", classmethod(lambda cls, url: JobServer(url, None)))
    monkeypatch.setattr(JobServer, "jobs_of", lambda self, run: [])
    monkeypatch.setattr(jobs, "submit", submit)
    return commands


def run(*arguments: str) -> int:
    return hybridtune.search.cli.main._run([*arguments, "--address", SERVER], debug=False)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["launch", "/data/set", "--run", "/shared//run/", "--trials=7", "--or-resume", "--metric", "tune_loss"],
            ["launch", "--run", "/shared/run", "--trials", "7", *AUTO, "--or-resume", "--", "/data/set"],
        ),
        (
            ["launch", "s3://b/set", "--run", "s3://b/run/", "--time-budget", "2h", "--seed", "5"],
            ["launch", "--run", "s3://b/run", "--time-budget", "2h", "--seed", "5", *AUTO, "--", "s3://b/set"],
        ),
        (
            ["resume", "s3://b/run", "--trials", "3", "--gpus-per-trial", "0.5"],
            ["resume", "--trials", "3", "--gpus-per-trial", "0.5", *AUTO, "--", "s3://b/run"],
        ),
        (
            ["prepare", "/raw", "/data/set", "--strict", "--horizons", "15,60"],
            ["prepare", "--horizons", "15,60", *AUTO, "--strict", "--", "/raw", "/data/set"],
        ),
        (["status", "/shared/run", "--json"], ["status", "--json", "--", "/shared/run"]),
        (["replay", "/shared/run", "4"], ["replay", "--", "/shared/run", "4"]),
        (["export", "s3://b/run", "/shared/out"], ["export", "--", "s3://b/run", "/shared/out"]),
    ],
)
def test_a_job_is_what_was_typed(sent: list[jobs.Command], typed: Sequence[str], line: Sequence[str]) -> None:
    assert run(*typed) == 2
    (command,) = sent
    assert command.line == ["python", "-m", "hybridtune", *line]
    assert (command.run is None) == (typed[0] not in ("launch", "resume"))


@pytest.mark.parametrize(
    "typed",
    [
        ["launch", "/data/set", "--run", "run"],
        ["launch", "data/set", "--run", "/shared/run"],
        ["launch", "/data/set", "--run", "/shared/run", "--warm-start", "old"],
        ["resume", "run"],
        ["status", "run"],
        ["stop", "run"],
        ["prepare", "raw", "/out"],
        ["prepare", "/raw", "out"],
        ["export", "/shared/run", "out"],
        ["report", "/shared/run", "--oracle", "oracle.parquet"],
    ],
)
def test_a_relative_path_is_nobodys(
    sent: list[jobs.Command], capsys: pytest.CaptureFixture[str], typed: Sequence[str]
) -> None:
    assert run(*typed) == 2
    assert sent == []
    assert "make it absolute, or use s3://bucket/prefix" in capsys.readouterr().err


def test_a_space_of_ones_own_goes_along(sent: list[jobs.Command], tmp_path: Path, dataset: Dataset) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("base: basic\n")
    assert run("launch", "/data/set", "--run", "/shared/run", "--space", str(space)) == 2
    (command,) = sent
    assert command.files == {"mine.yaml": space}
    assert command.line[command.line.index("--space") + 1] == "mine.yaml"


@pytest.mark.parametrize("command", ["status", "stop", "report", "replay", "export"])
def test_a_cluster_is_not_joined_to_read_a_run(capsys: pytest.CaptureFixture[str], command: str) -> None:
    more = {"replay": ["0"], "export": ["out"]}.get(command, [])
    assert hybridtune.search.cli.main._run([command, "run", *more, *AUTO], debug=False) == 2
    assert "address auto is not needed: leave it out, or name a job server" in capsys.readouterr().err
