"""HTTP/1.1 as RPC needs it: POST, one answer, connections that are kept.

A call is most of what a single request costs on an idle system; a client for the whole web takes four times as long.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import httptools

KEEP_IDLE = 60.0
"""Seconds that an unused connection is kept: less than our servers do, so that none ends under a call."""
CONNECT_PATIENCE = 1.0
LARGEST_ANSWER = 64 * 1024 * 1024
"""Octets of a body."""


class NotConnectedError(Exception):
    """Nothing was sent: the address is none, or took no connection."""


class BrokenOffError(Exception):
    """Something was sent, and no whole answer came in time."""


class HttpClient:
    """Connections to any number of addresses, each for one request at a time."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """`headers` go with every request."""
        self._headers = _write_headers(headers)
        self._idle: dict[str, list[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def post(
        self, address: str, path: str, body: bytes, *, timeout: float, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of the answer; raises NotConnectedError with its cause, or BrokenOffError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        connection = self._take(address, loop.time()) or await self._connect(address, min(timeout, CONNECT_PATIENCE))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {address}\r\n{self._headers}{_write_headers(headers)}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        answer = await connection.exchange(head.encode("ascii") + body, deadline)
        if connection.usable:
            connection.idle_since = loop.time()
            self._idle.setdefault(address, []).append(connection)
        else:
            connection.close()
        return answer

    def _take(self, address: str, now: float) -> "_Connection | None":
        """The connection used last that is still open; those that it leaves unused end."""
        idle = self._idle.get(address)
        if not idle:
            return None
        while idle[0].idle_since < now - KEEP_IDLE:
            idle.pop(0).close()
            if not idle:
                return None
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, address: str, patience: float) -> "_Connection":
        host, _, port = address.rpartition(":")

        def lost(connection: _Connection) -> None:
            self._open.discard(connection)
            if connection in (idle := self._idle.get(address, [])):
                idle.remove(connection)

        try:
            async with asyncio.timeout(patience):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(lost), host.removeprefix("[").removesuffix("]"), int(port)
                )
        except (OSError, ValueError, OverflowError) as error:
            raise NotConnectedError(f"{address}: {type(error).__name__}") from error
        if connection.is_open:
            self._open.add(connection)
        return connection

    def forget(self, address: str) -> None:
        """Close the connections to an address that are not in use."""
        for connection in self._idle.pop(address, ()):
            connection.close()

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # so that the loop closes them before it ends


class _Connection(asyncio.Protocol):
    def __init__(self, lost: Callable[["_Connection"], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self._octets = 0
        self.usable = True
        """Whether it is open, and takes one more request after this one."""
        self.idle_since = 0.0

    async def exchange(self, request: bytes, deadline: float) -> tuple[int, bytes]:
        """Status and body of the answer; NotConnectedError where nothing has been sent, or BrokenOffError."""
        if self._transport is None or self._transport.is_closing():
            raise NotConnectedError("the connection ended")
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._answer = answer
        timer = self._loop.call_at(deadline, self._fail, "TimeoutError")
        try:
            self._transport.write(request)
            return await answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
            timer.cancel()

    @property
    def is_open(self) -> bool:
        """Whether something may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """End the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BrokenOffError(reason))

    # what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended."""
        self.usable = False
        self._transport = None
        self._lost(self)
        self._fail(type(error).__name__ if error is not None else "it was closed without an answer")

    def data_received(self, data: bytes) -> None:
        """A part of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(type(error).__name__)
            self.close()

    # what the parser tells

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body.append(body)
        self._octets += len(body)
        if self._octets > LARGEST_ANSWER:
            self._fail("the answer is too large")
            self.close()

    def on_message_complete(self) -> None:
        """The answer is whole; one that says that another one follows is none."""
        status = self._parser.get_status_code()
        body, self._body, self._octets = b"".join(self._body), [], 0
        if status < 200:
            return
        if self._answer is None or self._answer.done():
            self.close()  # nobody has asked
            return
        self.usable = self.usable and self._parser.should_keep_alive()
        self._answer.set_result((status, body))


def _write_headers(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
