"""What `hybridtune doctor` finds, and the completion that it stands beside."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import HYBRIDTUNE

import hybridtune.search.cli.main
import hybridtune.search.doctor as doctor_module
from hybridtune.search.doctor import EXTRAS, Finding, examine
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.hybrid import HYBRID


def found(run: str | None = None) -> dict[str, Finding]:
    return {finding.about: finding for finding in examine(run)}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_a_machine_that_has_all_misses_nothing() -> None:
    findings = found()
    assert "missing" not in {finding.state for finding in findings.values()}
    assert {f"extra {extra}" for extra in EXTRAS} <= set(findings)
    assert {"hybridtune", "CPU", "GPU", "memory", "Ray's token", "Ray on this host"} <= set(findings)
    # What is not as it could be says what to do.
    assert all(finding.remedy for finding in findings.values() if finding.state == "note")


def test_an_extra_that_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "find_spec", lambda name: None if name in ("optuna", "tensorboard") else name)
    findings = found()
    assert findings["extra search"].state == "missing"
    assert findings["extra search"].remedy == "pip install 'hybridtune[search]'"
    assert findings["extra dashboard"].state == "note"


def test_little_memory_or_disk_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_module, "LEAST_MEMORY", 2**60)
    monkeypatch.setattr(doctor_module, "LEAST_DISK", 2**60)
    findings = found()
    assert findings["memory"].state == "missing"
    assert findings[f"disk at {tmp_path}"].state == "missing"


def test_what_a_container_has_read_from_files_is_not_memory_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used = {"memory.max": 4 * 2**30, "memory.current": 4 * 2**30 - 4096}
    for name, value in used.items():
        (tmp_path / name).write_text(f"{value}\n")
    (tmp_path / "memory.stat").write_text(f"anon 4096\ninactive_file {3 * 2**30}\nactive_file 4096\n")
    monkeypatch.setattr(doctor_module, "CONTROL_GROUP", tmp_path)
    assert found()["memory"].text() == "ok      memory: 3.0 GiB free"


def test_a_token_that_is_not_there_or_open_to_others_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert found()["Ray's token"].state == "missing"
    token.write_text("secret")
    token.chmod(0o644)
    assert "others may read" in found()["Ray's token"].found
    token.chmod(0o600)
    finding = found()["Ray's token"]
    assert (finding.state, "secret" in finding.text()) == ("ok", False)


def test_a_run_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    assert found(str(tmp_path / "none"))[f"run {tmp_path / 'none'}"].state == "ok"
    assert found(str(tmp_path / "other"))[f"run {tmp_path / 'other'}"].state == "missing"
    for nowhere in ("/proc/nowhere/run", "/etc/hostname/run"):
        finding = found(nowhere)[f"run {nowhere}"]
        assert (finding.state, "cannot be written" in finding.found) == ("missing", True)
    settings = Settings(dataset=tmp_path, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference)
    run = RunDir.create(tmp_path / "run", settings, "none")
    assert found(str(run.path))[f"run {run.path}"].state == "ok"
    run.study.write_bytes(b"damaged" * 1000)
    assert "is damaged" in found(str(run.path))[f"run {run.path}"].found
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    assert found("s3://bucket/run")["run s3://bucket/run"].state == "missing"


def test_the_command_exits_with_1_if_something_is_missing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hybridtune.search.cli.main._run(["doctor"], debug=False) == 0
    monkeypatch.setattr(doctor_module, "LEAST_DISK", 2**60)
    assert hybridtune.search.cli.main._run(["doctor"], debug=False) == 1
    assert "missing disk at" in capfd.readouterr().out


@pytest.mark.parametrize(("typed", "offered"), [("hybridtune dash", "dashboard"), ("hybridtune launch --sampl", "--")])
def test_the_shell_completes_commands_and_options(typed: str, offered: str) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_HYBRIDTUNE_COMPLETE": "complete_bash"}
    done = subprocess.run([HYBRIDTUNE], env=os.environ | words, capture_output=True, text=True, check=True)
    assert done.stdout.split()
    assert all(word.startswith(offered) for word in done.stdout.split())
