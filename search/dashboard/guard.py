"""Who may see a dashboard: whoever opens the address that the command has printed, from this machine. Nobody may change
anything.
"""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = ("GET", "HEAD")
READING_BY_POST = ("/tensorboard/data/plugin/", "/tensorboard/experiment/")
"""TensorBoard asks for long lists in the body of a POST; it has nothing that could be changed."""
OWN = "default-src 'self'; frame-ancestors 'none'"
OTHERS = "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'none'"
"""The pages of the tools behind ours write their styles, and the report its scripts, into the page."""


class Guard:
    """Lets requests through to `app` that come with the cookie, and the first that comes with the key for it."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        # A page of elsewhere whose name is made to lead here would send that name.
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._name = f"hybridtune-{port}"
        self._cookie = secrets.token_urlsafe(32)
        self._key: str | None = secrets.token_urlsafe(32)
        self.address = f"http://127.0.0.1:{port}/?key={self._key}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = request.url.path == "/" or request.url.path.startswith("/ht/")
                headers["Content-Security-Policy"] = OWN if own else OTHERS
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """What answers instead of the app; None if it may."""
        if request.headers.get("host") not in self._hosts:
            return PlainTextResponse("this dashboard answers at 127.0.0.1 only\n", 400)
        by_post = request.method == "POST" and request.url.path.startswith(READING_BY_POST)
        if request.method not in READING and not by_post:
            return PlainTextResponse("a dashboard changes nothing\n", 405, {"Allow": ", ".join(READING)})
        if _same(request.cookies.get(self._name, ""), self._cookie):
            return None
        key = request.query_params.get("key", "")
        if self._key is None or not _same(key, self._key):
            return PlainTextResponse("open the address that `hybridtune dashboard` printed; it works once\n", 403)
        self._key = None
        opened = RedirectResponse("/", 303)
        opened.set_cookie(self._name, self._cookie, httponly=True, samesite="strict")
        return opened


def _same(given: str, secret: str) -> bool:
    """In a time that says nothing of the secret."""
    return secrets.compare_digest(given.encode(), secret.encode())
