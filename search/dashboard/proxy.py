"""Another tool's pages under a path of ours."""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import httpx2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

SECONDS = 30.0
PLAIN = "/:@!$&'()*+,;="
"""What may stand in a path as it is, beside letters and digits."""
PASSED_ON = ("accept", "accept-encoding", "content-type", "range")
"""Of the viewer's headers. Its cookie is our key, and nobody else's business."""
PASSED_BACK = ("content-type", "content-encoding", "content-range", "cache-control", "location")


class Behind:
    """Hands each request on to a server and its answer back, as it comes.

    base: gives the address to which what follows the mount is added; called for each request. name: of the tool, for
    people. headers: added to each request.
    """

    def __init__(
        self,
        name: str,
        base: Callable[[], Awaitable[str]],
        headers: Mapping[str, str] | None = None,
        refused: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self._name = name
        self._base = base
        self._headers = dict(headers or {})
        self._refused = refused
        self._client: httpx2.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope["root_path"])
        if self._refused(path):
            raise HTTPException(403, f"{path} does more than show, so the dashboard leaves it out")
        if self._client is None:
            # Proxies of the environment are for the world outside, and would be told the token.
            self._client = httpx2.AsyncClient(timeout=SECONDS, trust_env=False)
        request = Request(scope, receive)
        # Whoever takes no encoding is sent none.
        headers = {"accept-encoding": "identity"}
        headers |= {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        sent = self._client.build_request(
            request.method,
            # As it was written: a question mark that is part of the path does not begin the query.
            f"{await self._base()}{quote(path, safe=PLAIN)}",
            params=request.url.query or None,
            headers=headers | self._headers,
            content=await request.body() or None,
        )
        try:
            answer = await self._client.send(sent, stream=True)
        except httpx2.TransportError as error:
            raise HTTPException(502, f"{self._name} does not answer: {str(error) or type(error).__name__}") from None
        back = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        try:
            await StreamingResponse(answer.aiter_raw(), answer.status_code, back)(scope, receive, send)
        finally:
            await answer.aclose()
