"""The RPC side of a service: FastAPI on uvicorn, closed to whoever does not know the token."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, cast

import msgspec
import uvicorn
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vedette.rpc.contract import DEADLINE_HEADER, HELLO, INSTANCE_HEADER, MAX_BODY, UNREADABLE, Hello
from vedette.rpc.deadline import set_deadline
from vedette.rpc.token import RpcToken

Handler = Callable[[bytes], Awaitable[bytes]]

_DEADLINE = DEADLINE_HEADER.encode()
_INSTANCE = INSTANCE_HEADER.encode()


class NotReadyError(Exception):
    """A handler cannot take the call now, and did nothing with it: the caller may ask somebody else."""


class WrongInstanceError(Exception):
    """The call was meant for another instance that had this address before."""


def rpc_app(
    *,
    token: RpcToken,
    who: Callable[[], Hello],
    handlers: Mapping[str, Handler],
    heard: Callable[[Hello], None],
) -> FastAPI:
    """The application: POST to each path of `handlers`, and hello.

    A call with another token gets 401, with another instance in its header 409, when not ready 503, with a body that
    is no message of the contract 400. `heard` is told of each caller's hello.
    """
    answer_hello = msgspec.msgpack.Encoder()
    read_hello = msgspec.msgpack.Decoder(Hello)

    async def hello(body: bytes) -> bytes:
        caller = read_hello.decode(body)
        heard(caller)
        return answer_hello.encode(who())

    return _RpcApp(token, who, {HELLO: hello, **handlers})


class _RpcApp(FastAPI):
    """Calls go the shortest way: they are many, and FastAPI's way to a function costs more than uvicorn's part.

    Whatever is no call is FastAPI's, which knows of nothing: 404.
    """

    def __init__(self, token: RpcToken, who: Callable[[], Hello], handlers: Mapping[str, Handler]) -> None:
        super().__init__(docs_url=None, redoc_url=None, openapi_url=None)
        self._token = token
        self._who = who
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        handler = self._handlers.get(scope["path"])
        if handler is None or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        status, content = await self._answer(handler, scope, receive)
        headers = [(b"content-length", str(len(content)).encode())]
        if status == 200:
            headers.append((b"content-type", b"application/x-msgpack"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, handler: Handler, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not self._token.accepts(headers.get(b"authorization", b"").decode("latin-1")):
            return 401, b""
        meant = headers.get(_INSTANCE)
        if meant is not None and meant.decode("latin-1") != self._who().instance:
            return 409, b""
        if int(headers.get(b"content-length", 0)) > MAX_BODY:
            return 413, b""
        set_deadline(headers.get(_DEADLINE, b"").decode("latin-1"))
        try:
            return 200, await handler(await _read_body(receive))
        except NotReadyError:
            return 503, b""
        except WrongInstanceError:
            return 409, b""
        except UNREADABLE:
            return 400, b""


async def _read_body(receive: Receive) -> bytes:
    """The body; whoever goes away before its end has asked for nothing."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _JoinedWrites:
    """A transport that sends at the end of a turn of the loop what was written to it in that turn, in one piece.

    uvicorn writes the head of an answer and its body apart: two system calls, and two for the reader.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _JoinedWrites(transport)))


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own.

    It sleeps until it is to end, or the Date changes; uvicorn looks ten times a second.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Have `serve` finish the calls under way and return."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An ASGI application served on a socket of ours, in the loop of the process."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=3,
        )
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve in the background; returns when calls are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Finish the calls under way and stop."""
        self._server.end()
        if self._task is not None:
            await self._task


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; OSError where the address is taken or not ours. Port 0: any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
