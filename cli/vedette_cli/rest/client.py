"""Calls to the admin REST: JSON both ways, pages one after the other, problems (RFC 9457) as errors."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

ROOT = "/api/v1"
LARGEST_PAGE = 500
PATIENCE = 30.0
"""Seconds for an answer."""
MAX_ANSWER = 64 * 1024 * 1024
_PROBLEM = "application/problem+json"

Query = Mapping[str, "str | int | float | Sequence[str] | None"]


class RestError(Exception):
    """A call that was not answered as wished; the text is for a person."""


class NoAnswerError(RestError):
    """Nobody answered, or nobody that is a Vedette."""


class RefusedError(RestError):
    """The server said no."""

    def __init__(self, status: int, detail: str, *, where: str | None = None, remedy: str = "") -> None:
        named = f" ({where})" if where and not detail.startswith(where) else ""
        super().__init__(". ".join(part.rstrip(".") for part in (detail + named, remedy) if part))
        self.status = status
        self.detail = detail
        self.where = where


class RestClient:
    """Speaks to one server over one connection at a time."""

    def __init__(self, address: str, token: str | None, *, patience: float = PATIENCE) -> None:
        """`address`: like http://127.0.0.1:8080. Raises ValueError where it is none."""
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{address!r} is not the address of a REST API; write it like http://127.0.0.1:8080")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address of a REST API holds no password; use a token")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._path = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._token = token
        self.patience = patience
        """Seconds for an answer, and within it for its next part."""
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, where there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, *path: str, query: Query | None = None) -> Any:
        """The JSON of an answer. Raises RestError."""
        return self.call("GET", *path, query=query)

    def call(
        self,
        method: str,
        *path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer, None where it has no content. Raises RestError.

        `path`: the steps below /api/v1, each of them quoted here. `body`: octets, with their Content-Type among the
        headers, or what becomes JSON.
        """
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        assert body is None or isinstance(body, bytes)
        response = self._exchange(method, _target(path, query), body, sent)
        octets = self._read(response)
        if response.status == 204:
            return None
        found = _json(octets)
        if response.status >= 300:
            raise _refusal(response, found)
        if found is None:
            raise NoAnswerError(f"{self.address} does not answer as a Vedette does")
        return found

    def octets(self, *path: str, query: Query | None = None) -> bytes:
        """An answer as it is, whatever its type. Raises RestError."""
        response = self._exchange("GET", _target(path, query), None, {})
        octets = self._read(response)
        if response.status != 200:
            raise _refusal(response, _json(octets))
        return octets

    def items(self, *path: str, query: Query | None = None, limit: int = 0) -> Iterator[Any]:
        """The items of a list, page by page, up to `limit` of them (0: all). Raises RestError."""
        left, asked = limit, dict(query or {})
        while True:
            asked["limit"] = min(left, LARGEST_PAGE) if limit else LARGEST_PAGE
            page = self.get(*path, query=asked)
            yield from page["items"]
            left -= len(page["items"])
            asked["cursor"] = page.get("next")
            if asked["cursor"] is None or (limit and left <= 0):
                return

    def stream(
        self, *path: str, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """An answer that goes on, to be read line by line; the connection is its own. Raises RestError."""
        response = self._exchange(
            "GET", _target(path, query), None, {"Accept": "text/event-stream", **(headers or {})}
        )
        if response.status != 200:
            raise _refusal(response, _json(self._read(response)))
        return response

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self._token is not None:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        used = self._connection is not None
        try:
            return self._send(method, target, body, headers)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if not used or method != "GET":
                raise self._nobody(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._nobody(error) from None
        try:  # a connection that lay idle had been closed
            return self._send(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._nobody(error) from None

    def _send(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=self.patience)
        try:
            self._connection.request(method, self._path + target, body, {"Accept": "application/json", **headers})
            return self._connection.getresponse()
        except BaseException:
            self.close()
            raise

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            octets = response.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._nobody(error) from None
        if len(octets) > MAX_ANSWER:
            self.close()
            raise NoAnswerError(f"{self.address} answers with more than {MAX_ANSWER} octets")
        return octets

    def _nobody(self, error: Exception) -> NoAnswerError:
        self.close()
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self.patience:g} seconds"
        elif isinstance(error, ssl.SSLError):
            reason = f"TLS: {error.reason or error}"
        else:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        return NoAnswerError(f"{self.address} does not answer: {reason}")


def _target(path: tuple[str, ...], query: Query | None) -> str:
    steps = "/".join([ROOT, *(quote(step, safe="") for step in path)])
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{steps}?{urlencode(asked, doseq=True)}" if asked else steps


def _json(octets: bytes) -> Any:
    """What the octets say; None where they are no JSON."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(octets)
    return None


def _refusal(response: http.client.HTTPResponse, found: Any) -> RestError:
    if response.headers.get_content_type() != _PROBLEM or not isinstance(found, dict):
        return RefusedError(response.status, f"the server answered {response.status} {response.reason}")
    remedy = str(found.get("remedy", ""))
    match response.status:
        case 401:
            remedy = (
                "Put a token into VEDETTE_TOKEN, or into a file for --token-file; `vedette token create` makes one"
            )
        case 429 if response.headers.get("Retry-After"):
            remedy = f"Wait {response.headers['Retry-After']} seconds"
        case _ if "/openapi.json" in remedy:
            remedy = ""
    where = found.get("where")
    return RefusedError(
        response.status, str(found.get("detail", "")), where=where if isinstance(where, str) else None, remedy=remedy
    )
