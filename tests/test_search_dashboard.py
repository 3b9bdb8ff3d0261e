"""What the dashboard shows of a run, and whom it lets see it."""

import asyncio
import json
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from conftest import Workplace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from hybridtune.data.schema import InputError
from hybridtune.search.dashboard.drawing import HEIGHT, MARGIN, WIDTH, draw
from hybridtune.search.dashboard.guard import Guard
from hybridtune.search.dashboard.overview import Curve, Overview
from hybridtune.search.dashboard.proxy import Behind
from hybridtune.search.dashboard.ray_pages import RayAddress, ray_pages
from hybridtune.search.dashboard.server import _listening, pages
from hybridtune.search.dashboard.tensorboard import PREFIX, TensorBoard
from hybridtune.search.dashboard.watcher import LOOK_SECONDS, Look, Watcher
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.tuning.events import METRICS

PORT = 8901
HOST = f"http://127.0.0.1:{PORT}"


def guarded() -> tuple[Guard, TestClient]:
    inside = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("inside"), methods=["GET", "POST"])]
    )
    guard = Guard(inside, PORT)
    return guard, TestClient(guard, base_url=HOST, follow_redirects=False)


def test_the_printed_address_works_once_and_gives_a_cookie_that_no_script_reads() -> None:
    guard, client = guarded()
    assert client.get("/").status_code == 403
    for wrong in ("wrong", "%C3%A9"):
        assert client.get(f"/?key={wrong}").status_code == 403
    opened = client.get(guard.address)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/").text == "inside"
    client.cookies.clear()
    assert client.get(guard.address).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_let_through(method: str) -> None:
    guard, client = guarded()
    client.get(guard.address)
    assert client.request(method, "/api/studies/1").status_code == 405


def test_lists_that_tensorboard_asks_for_are_let_through() -> None:
    guard, client = guarded()
    assert client.post("/tensorboard/data/plugin/timeseries/timeSeries").status_code == 403
    client.get(guard.address)
    assert client.post("/tensorboard/data/plugin/timeseries/timeSeries").text == "inside"
    assert client.delete("/tensorboard/data/plugin/timeseries/timeSeries").status_code == 405
    assert client.post("/tensorboard/").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", f"127.0.0.1.evil.example:{PORT}", ""])
def test_another_name_of_this_host_is_refused(host: str) -> None:
    guard, client = guarded()
    client.get(guard.address)
    assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(("path", "inline"), [("/", False), ("/ht/page.js", False), ("/dashboard", True)])
def test_no_page_may_load_anything_from_elsewhere(path: str, inline: bool) -> None:
    guard, client = guarded()
    client.get(guard.address)
    policy = client.get(path).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert ("'unsafe-inline'" in policy) == inline
    assert "http" not in policy


def test_curves_are_drawn_between_their_extremes_with_the_best_on_top() -> None:
    curves = [
        Curve(trial=3, role="best", points=((1, 0.7), (3, 0.5))),
        Curve(trial=0, role="reference", points=((1, 0.9), (2, 0.6))),
    ]
    drawing = draw(curves)
    assert drawing is not None
    assert (drawing.low, drawing.high, drawing.iterations) == (0.5, 0.9, 3)
    assert [line.role for line in drawing.lines] == ["reference", "best"]
    left, right = (point.split(",") for point in drawing.lines[1].points.split())
    assert float(left[0]) == MARGIN
    assert (float(right[0]), float(right[1])) == (WIDTH - MARGIN, HEIGHT - MARGIN)
    assert draw([]) is None


def test_one_value_alone_can_be_drawn() -> None:
    drawing = draw([Curve(trial=0, role="running", points=((1, 0.7),))])
    assert drawing is not None
    first, second = drawing.lines[0].points.split()
    assert first == second
    assert "nan" not in first


@pytest.mark.slow
def test_a_finished_run_is_shown_with_its_tools_and_changed_by_none(finished: Workplace, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.path / "run", run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    tensorboard = TensorBoard(run / "tune")
    with TestClient(pages(Look.at(str(run)), tensorboard, None), base_url=HOST) as client:
        state = client.get("/ht/state.json").json()
        assert (state["status"], state["driven"]) == ("done", False)
        assert sum(state["states"].values()) == state["wanted"]
        assert state["next_command"] == f"hybridtune export {run} bundle"
        page = client.get("/").text
        assert f"trial {state['best']['trial']}" in page
        assert f"{state['best']['objective']:.4f}" in page
        assert client.get("/api/studies").json()["study_summaries"][0]["study_name"] == "hybridtune"
        assert "Optuna Dashboard" in client.get("/dashboard/studies/1").text
        assert "hybridtune report" in client.get("/report/").text
        trial = client.get(f"/ht/trial/{state['best']['trial']}").text
        assert f"{state['best']['objective']:.4f}" in trial
        assert all(name in trial for name in state["best"]["params"])
        assert client.get(f"/ht/trial/{state['wanted']}").status_code == 404
        assert client.get("/ray/").status_code == 404
        wait_for_hparams(client, state["wanted"])
        for path in ("/ht/page.css", "/ht/page.js", "/static/bundle.js", "/favicon.ico"):
            assert client.get(path).status_code == 200, path
        # The file itself refuses, whatever is let through.
        assert client.delete("/api/studies/1").status_code == 500
    tensorboard.end()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def wait_for_hparams(client: TestClient, trials: int) -> None:
    """Until TensorBoard, which reads one file after another, knows the parameters and the result of each trial."""
    base = "/tensorboard/data/plugin/hparams"
    experiment, groups = {}, []
    for _ in range(60):
        experiment = client.post(f"{base}/experiment", json={"experimentName": ""}).json()
        names = [{"hparam": info["name"]} for info in experiment.get("hparamInfos", [])]
        columns = [{"metric": info["name"]} for info in experiment.get("metricInfos", [])]
        asked = {
            "experimentName": "",
            "allowedStatuses": ["STATUS_SUCCESS"],
            "colParams": names + columns,
            "startIndex": 0,
            "sliceSize": 100,
        }
        groups = client.post(f"{base}/session_groups", json=asked).json().get("sessionGroups", [])
        if len(groups) == trials and all(len(group["metricValues"]) == len(METRICS) for group in groups):
            break
        time.sleep(1)
    assert len(groups) == trials
    assert {info["name"]["tag"] for info in experiment["metricInfos"]} == set(METRICS)
    assert "learning_rate" in {info["name"] for info in experiment["hparamInfos"]}
    for group in groups:
        assert {value["name"]["tag"] for value in group["metricValues"]} == set(METRICS)
        assert group["hparams"]["learning_rate"] > 0


@pytest.fixture
def echo() -> Iterator[str]:
    """Address of a server that answers with what it was asked, and how."""

    async def tell(request: Request) -> JSONResponse:
        body = (await request.body()).decode()
        asked = {"method": request.method, "path": request.url.path, "query": request.url.query, "body": body}
        return JSONResponse(asked | {"headers": dict(request.headers)}, headers={"Set-Cookie": "theirs=1"})

    listening = _listening(0)
    app = Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    serving = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    serving.join()


def test_a_page_behind_the_dashboard_learns_the_token_and_nothing_of_the_viewer(echo: str) -> None:
    shown = ray_pages(RayAddress(f"{echo}/", {"Authorization": "Bearer token"}))
    inside = Starlette(routes=[Mount("/ray", shown)])
    with TestClient(inside, base_url=HOST, cookies={"hybridtune": "secret"}) as client:
        answer = client.get("/ray/nodes?view=summary&x=%2F", headers={"Authorization": "Bearer other", "X-Mine": "1"})
        asked = answer.json()
        assert (asked["method"], asked["path"], asked["query"]) == ("GET", "/nodes", "view=summary&x=%2F")
        assert asked["headers"]["authorization"] == "Bearer token"
        assert not {"cookie", "x-mine", "referer"} & set(asked["headers"])
        assert "set-cookie" not in answer.headers
        # What stands for a question mark in a path is none: it would lead to the pages that are left out.
        asked = client.get("/ray/worker/traceback%3Fpid=1").json()
        assert (asked["path"], asked["query"]) == ("/worker/traceback%3Fpid=1", "")
        for path in ("/ray/memory_profile", "/ray/worker/cpu_profile", "/ray/task/traceback"):
            assert client.get(path).status_code == 403


def test_a_tool_that_does_not_answer_is_said() -> None:
    with _listening(0) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    client = TestClient(Starlette(routes=[Mount("/ray", ray_pages(RayAddress(url, {})))]), base_url=HOST)
    answer = client.get("/ray/")
    assert (answer.status_code, answer.text.startswith("Ray does not answer")) == (502, True)


def test_a_tensorboard_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    client = TestClient(Starlette(routes=[Mount(PREFIX, Behind("TensorBoard", TensorBoard(tmp_path).base))]))
    answer = client.get("/tensorboard/")
    assert (answer.status_code, "TensorBoard did not start" in answer.text) == (502, True)
    elsewhere = Starlette(routes=[Mount(PREFIX, Behind("TensorBoard", TensorBoard(tmp_path / "none").base))])
    answer = TestClient(elsewhere).get("/tensorboard/")
    assert (answer.status_code, "stay on the host that works on the run" in answer.text) == (404, True)
    monkeypatch.setattr("hybridtune.search.dashboard.tensorboard.find_spec", lambda name: None)
    assert "pip install 'hybridtune[dashboard]'" in client.get("/tensorboard/").text


@pytest.mark.slow
def test_a_study_that_somebody_writes_for_long_is_shown_as_it_was(finished: Workplace, tmp_path: Path) -> None:
    run = RunDir.open(Path(shutil.copytree(finished.path / "run", tmp_path / "run")))
    look = Look.at(str(run.path))
    before = look()
    with sqlite3.connect(run.study) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        run.update(error="changed meanwhile")
        assert look() == before
        writer.execute("ROLLBACK")
    assert look().error == "changed meanwhile"


@pytest.mark.slow
def test_a_run_of_another_version_is_not_shown(finished: Workplace, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.path / "run", tmp_path / "run"))
    document = run / "run.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"version": 99}))
    with pytest.raises(InputError, match="version 99"):
        Look.at(str(run))


@pytest.mark.slow
def test_a_study_that_cannot_be_read_for_a_while_does_not_end_the_watching(finished: Workplace, tmp_path: Path) -> None:
    run = RunDir.open(Path(shutil.copytree(finished.path / "run", tmp_path / "run")))
    whole = run.study.read_bytes()

    async def watch() -> list[str | None]:
        changes = Watcher(Look.at(str(run.path))).changes()
        shown = [(await anext(changes)).error]
        # Another file, as a copy that is put back is.
        run.study.unlink()
        run.study.write_bytes(b"damaged" * 1000)
        await asyncio.sleep(3 * LOOK_SECONDS)
        run.study.unlink()
        run.study.write_bytes(whole)
        run.update(error="seen again")
        shown.append((await asyncio.wait_for(anext(changes), 30)).error)
        await changes.aclose()
        return shown

    assert asyncio.run(watch()) == [None, "seen again"]


@pytest.mark.slow
def test_a_run_that_cannot_be_seen_any_more_is_said_to_who_watches(
    finished: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was open said searching, hours after the search had ended for want of its study."""
    monkeypatch.setattr("hybridtune.search.dashboard.watcher.TROUBLE_SECONDS", 1.0)
    run = RunDir.open(Path(shutil.copytree(finished.path / "run", tmp_path / "run")))
    run.update(status="searching")
    look = Look.at(str(run.path))

    async def watch() -> list[Overview]:
        changes = Watcher(look).changes()
        shown = [await anext(changes)]
        run.study.unlink()
        run.study.write_bytes(b"damaged" * 1000)
        run.update(status="failed", error="the study is damaged")
        shown.append(await asyncio.wait_for(anext(changes), 30))
        run.path.rename(tmp_path / "elsewhere")
        shown.append(await asyncio.wait_for(anext(changes), 30))
        await changes.aclose()
        return shown

    before, damaged, gone = asyncio.run(watch())
    assert (before.status, before.error) == ("searching", None)
    assert (damaged.status, damaged.error) == ("failed", "the study is damaged")
    assert gone.error is not None
    assert "run" in gone.error
    with TestClient(pages(look, TensorBoard(run.tune), None), base_url=HOST) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.text.count("\n")) == (503, 1)


def test_the_port_of_a_dashboard_that_has_just_ended_can_be_used_again() -> None:
    first = _listening(0)
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as viewer:
        served, _ = first.accept()
        # Who ends a connection first keeps its port for a minute.
        served.close()
        first.close()
        assert viewer.recv(1) == b""
    with _listening(port) as again, pytest.raises(InputError, match=f"port {port} cannot be used"):
        assert again.getsockname()[1] == port
        _listening(port)
