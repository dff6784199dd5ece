"""Around the application: what no operation has to think of."""

import ipaddress
from collections.abc import Mapping

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presence_core.adapters.rest.problems import Problem, answer, answer_of, problem
from vedette.store.database import StoreError

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

log = structlog.get_logger()


class Guard:
    """Limits bodies, shuts out other sites' pages, adds headers, and answers what nobody expected with a problem.

    CORS is closed: no answer has headers for it, and a request that a browser sends for a page of another origin is
    refused even where the page would not see the answer.
    """

    def __init__(self, app: ASGIApp, *, max_body: int, is_open: bool) -> None:
        """`is_open`: no token is asked for, so that only a name that nobody else can own is taken for Host."""
        self._app = app
        self._max_body = max_body
        self._open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                added = [header for header in _HEADERS if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(headers)
        if refusal is not None:
            await answer(refusal)(scope, receive, sending)
            return
        try:
            await self._app(scope, _Counted(receive, self._max_body), sending)
        except StoreError as error:
            if started:
                raise
            await answer_of(error)(scope, receive, sending)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            await answer(problem(500, "something went wrong here"))(scope, receive, sending)

    def _refusal(self, headers: Mapping[str, str]) -> Problem | None:
        host = headers.get("host", "")
        if self._open and not _is_nobodys_name(host):
            detail = f"without tokens (api_auth=none) nobody is served who calls this {host[:200]!r}"
            return problem(421, detail, where="header.host")
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        if (origin is not None and origin.partition("://")[2].lower() != host.lower()) or site not in {
            "none",
            "same-origin",
        }:
            return problem(403, "pages of other origins are not served (CORS is closed)", where="header.origin")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 15:
            return problem(400, "Content-Length is no number", where="header.content-length")
        return problem(413, _too_long(self._max_body), where="body") if int(length) > self._max_body else None


class _Counted:
    """Gives the body on, and no more of it than allowed."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                # What else is raised while a body is read becomes a 400.
                raise HTTPException(413, _too_long(self._limit))
        return message


def _too_long(limit: int) -> str:
    return f"the body has more than {limit} octets (api_max_body_size)"


def _is_nobodys_name(host: str) -> bool:
    """Whether Host is an address or a name of one part: a page of another site cannot have us answer to its own."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower().rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
