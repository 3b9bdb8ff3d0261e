"""The dashboard: our page, and behind it the tools that others have made, on one loopback address."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from optuna_dashboard import wsgi
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from hybridtune.data.schema import InputError
from hybridtune.search.dashboard.browser import open_browser
from hybridtune.search.dashboard.drawing import draw
from hybridtune.search.dashboard.guard import Guard
from hybridtune.search.dashboard.overview import Overview
from hybridtune.search.dashboard.proxy import Behind
from hybridtune.search.dashboard.ray_pages import RayAddress, ray_pages
from hybridtune.search.dashboard.render import render
from hybridtune.search.dashboard.tensorboard import FONTS, PREFIX, TensorBoard
from hybridtune.search.dashboard.watcher import BUSY, PASSING, FileIdentity, Look, Watcher, identity
from hybridtune.search.run.opening import DRIVEN
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import watched_storage

STATIC = Path(__file__).with_name("static")
OPTUNA_PATHS = ("dashboard", "api", "static", "csv", "favicon.ico")
"""Where its pages look for their parts, whatever they are served under."""


def serve(name: str, port: int, say: Say, ray: RayAddress | None = None, *, browser: bool) -> None:
    """Until Ctrl-C. port: 0 for any that is free. ray: shown too, if given. Raises InputError if the run is not
    there or damaged, or if the port is in use.
    """
    look = Look.at(name)
    # Whoever opens the page finds the study read. What is wrong with it only for a moment is read again.
    with suppress(*BUSY):
        look()
    of_ray = None if ray is None else ray_pages(ray)
    listening = _listening(port)
    tensorboard = TensorBoard(_curves_of(look.run))
    app = Guard(pages(look, tensorboard, of_ray), listening.getsockname()[1])
    say(f"dashboard: {app.address}")
    if browser:
        open_browser(app.address, listening.getsockname()[1], say)
    # Viewers stay connected: nothing is gained by waiting for them.
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        say("the dashboard has ended; the run goes on without it")
    finally:
        tensorboard.end()


def _curves_of(run: RunDir) -> Path:
    """Event files are on the host that works on the run, and nowhere else."""
    return run.tune if run.kept_in is None else run.path.with_name(DRIVEN) / run.tune.name


def _listening(port: int) -> socket.socket:
    found = socket.socket()
    # Connections of a dashboard that has just ended hold nothing up; one that listens there still does.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
        # Whoever opens the address before the server runs waits for it.
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        raise InputError(f"port {port} cannot be used ({error}): leave --port out, or name another") from None
    return found


def pages(look: Look, tensorboard: TensorBoard, of_ray: ASGIApp | None) -> Starlette:
    watcher = Watcher(look)
    optuna_pages = OptunaPages(look)

    async def page(request: Request) -> Response:  # noqa: ARG001
        shown = _shown(await watcher.now())
        return HTMLResponse(render(__package__, "page.html", **shown, ray=of_ray is not None))

    async def events(request: Request) -> Response:  # noqa: ARG001
        async def fragments() -> AsyncIterator[dict[str, str]]:
            async for found in watcher.changes():
                yield {"data": render(__package__, "run.html", **_shown(found))}

        return EventSourceResponse(fragments())

    async def trial(request: Request) -> Response:
        found = await asyncio.to_thread(look.trial, request.path_params["number"])
        if found is None:
            raise HTTPException(404, "the run has no such trial")
        shown = {"metric": _in_words((await watcher.now()).metric), "drawing": draw([found.curve])}
        return HTMLResponse(render(__package__, "trial.html", trial=found, **shown))

    async def state(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse((await watcher.now()).model_dump(mode="json"))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/ht/events", events),
            Route("/ht/state.json", state),
            Route("/ht/trial/{number:int}", trial),
            Mount("/ht", StaticFiles(directory=STATIC)),
            Mount("/report", ReportPages(look)),
            *[Mount(f"/{path}", Rooted(optuna_pages)) for path in OPTUNA_PATHS],
            Mount(PREFIX, Behind("TensorBoard", tensorboard.base)),
            Mount(FONTS, Behind("TensorBoard", tensorboard.fonts)),
            *([] if of_ray is None else [Mount("/ray", of_ray)]),
        ],
        exception_handlers=dict.fromkeys(PASSING, _not_seen),
    )


def _not_seen(request: Request, error: Exception) -> Response:  # noqa: ARG001 one signature
    """The run is gone, damaged or locked."""
    return PlainTextResponse(f"{error}\n", 503)


def _shown(found: Overview) -> dict[str, Any]:
    return {"run": found, "metric": _in_words(found.metric), "drawing": draw(found.curves)}


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")


class Rooted:
    """Serves an app below a mount under the whole path, as its own routes name it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": ""}, receive, send)


class ReportPages:
    """The run's report, once there is one."""

    def __init__(self, look: Look) -> None:
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        report = self._look.run.report
        if not report.exists():
            raise HTTPException(404, "the run has no report yet: it is written when the search has ended")
        await StaticFiles(directory=report.parent, html=True)(scope, receive, send)


class OptunaPages:
    """optuna-dashboard on the run's study, once there is one. It could not write through what it is given."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._file: FileIdentity | None = None
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        run = self._look.run
        # Each fetch of a run that is kept elsewhere puts another file there.
        if self._app is None or identity(run.study) != self._file:
            storage = watched_storage(run)
            if storage is None:
                raise HTTPException(404, "the run has no study yet")
            self._file = identity(run.study)
            self._app = WSGIMiddleware(wsgi(storage))  # type: ignore[assignment]
        assert self._app is not None
        await self._app(scope, receive, send)
