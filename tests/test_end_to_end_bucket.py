"""A run in a bucket: it outlives its host, a silent store, and a driver that was thought dead and was not."""

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from botocore.exceptions import ClientError
from conftest import SMALL_SPACE, Workplace, wait_until
from s3_server import BUCKET, S3Server, client, s3_server

from hybridtune.models.bundle import Bundle

pytestmark = pytest.mark.slow

RUN = f"s3://{BUCKET}/team/run"
LAUNCH = (
    *("--space", "space.yaml", "--trials", "4", "--iterations", "4", "--samples-per-iteration", "2048"),
    *("--top-k", "1", "--seeds", "1", "--concurrent", "2", "--scheduler", "none", "--sampler", "random"),
)
CHANCE = ["seconds", "runs_on", "host", "retries", "hosts_lost"]
"""Columns that two runs of one seed may differ in."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def host(tmp_path: Path, name: str, finished: Workplace | None = None) -> Workplace:
    """One that knows nothing of the run. finished: where its dataset lies, for who launches it."""
    made = Workplace(tmp_path / name)
    made.path.mkdir()
    (made.path / "space.yaml").write_text(SMALL_SPACE)
    if finished is not None:
        shutil.copytree(finished.path / "dataset", made.path / "dataset")
    return made


def objects(server: S3Server, below: str = "") -> dict[str, str]:
    """Key -> digest of what lies there."""
    pages = client(server).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"team/run/{below}")
    return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / name).drop(columns=CHANCE, errors="ignore")


def driven(place: Workplace) -> Path:
    """Where the driver of that host works."""
    (folder,) = (place.path / "home" / ".hybridtune" / "runs").glob("*/driven")
    return folder


def test_a_run_outlives_its_host_and_a_silent_store(tmp_path: Path, finished: Workplace, server: S3Server) -> None:
    undisturbed = host(tmp_path, "undisturbed", finished)
    undisturbed.succeed("launch", "dataset", "--run", "run", *LAUNCH)

    lost = host(tmp_path, "lost", finished)
    launched = lost.start("launch", "dataset", "--run", RUN, *LAUNCH)
    wait_until(lambda: "complete after iteration 4" in launched.stdout, launched)
    wait_until(lambda: any("checkpoint-" in key for key in objects(server, "tune/")), launched)
    told = set(re.findall(r"(trial \d) complete", launched.stdout))
    launched.kill()
    shutil.rmtree(lost.path)

    fresh = host(tmp_path, "fresh")
    resumed = fresh.start("resume", RUN)
    wait_until(lambda: "starts" in resumed.stdout, resumed)
    server.pause()
    time.sleep(20)
    server.go_on()
    another = host(tmp_path, "another")
    assert f"stopped: process {resumed.process.pid} on host" in another.succeed("stop", RUN)
    assert resumed.wait() == 130, resumed.stderr
    resumed.kill()
    output = resumed.stdout + fresh.succeed("launch", "nowhere", "--run", RUN, "--or-resume")
    assert not told & set(re.findall(r"(trial \d) starts", output)), "a trial that had ended was trained again"
    for name in ("trials.parquet", "curves.parquet", "predictions.parquet"):
        pd.testing.assert_frame_equal(table(driven(fresh), name), table(undisturbed.path / "run", name))
    assert not [key for key in objects(server) if "checkpoint-" in key]

    assert f"{RUN}: done" in another.succeed("status", RUN)
    another.succeed("export", RUN, "bundle")
    assert Bundle.load(another.path / "bundle").document.horizons == (15, 60)
    assert "report: " in another.succeed("report", RUN)
    assert "largest difference" in another.succeed("replay", RUN, "0")
    assert f"mean AUC of {RUN} over" in another.succeed("compare", RUN, str(undisturbed.path / "run")).replace(
        "\n", " "
    )
    again = another.run("launch", str(finished.path / "dataset"), "--run", RUN, *LAUNCH)
    assert again.process.returncode == 2
    assert "exists already" in again.stderr


def test_a_driver_that_was_thought_dead_changes_nothing_of_its_successors(
    tmp_path: Path, finished: Workplace, server: S3Server
) -> None:
    paused = host(tmp_path, "paused", finished)
    first = paused.start("launch", "dataset", "--run", RUN, *LAUNCH)
    wait_until(lambda: "starts" in first.stdout, first)
    first.process.send_signal(signal.SIGSTOP)
    try:
        successor = host(tmp_path, "successor")
        began = time.monotonic()
        output = successor.succeed("resume", RUN)
        assert "waiting 30 seconds for a sign of life" in output
        assert time.monotonic() - began > 30
        before = objects(server)
        first.process.send_signal(signal.SIGCONT)
        assert first.wait(60) == 1
    finally:
        first.kill()
    assert len(first.stderr.splitlines()) == 1
    assert "has taken over" in first.stderr
    after = objects(server)
    mine = ("team/run/drivers/000002/", "team/run/leases/000002", "team/run/members/", "team/run/datasets/")
    assert {key: tag for key, tag in after.items() if key.startswith(mine)} == {
        key: tag for key, tag in before.items() if key.startswith(mine)
    }
    assert f"{RUN}: done" in successor.succeed("status", RUN)


def remove_bucket(server: S3Server) -> bool:
    """Whether it went, though others write to it meanwhile."""
    for _ in range(50):
        for key in objects(server):
            client(server).delete_object(Bucket=BUCKET, Key=key)
        with suppress(ClientError):
            client(server).delete_bucket(Bucket=BUCKET)
            return True
    return False


def test_a_bucket_that_goes_ends_the_run_with_a_line(tmp_path: Path, finished: Workplace, server: S3Server) -> None:
    place = host(tmp_path, "place", finished)
    launched = place.start("launch", "dataset", "--run", RUN, *LAUNCH)
    wait_until(lambda: "starts" in launched.stdout, launched)
    assert remove_bucket(server)
    assert launched.wait(60) == 1
    launched.kill()
    assert len(launched.stderr.splitlines()) == 1
    assert f"the bucket of {RUN} does not exist" in launched.stderr
    assert f"then `hybridtune resume {RUN}` goes on" in launched.stderr
