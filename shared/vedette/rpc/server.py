"""The RPC side of a service: FastAPI on uvicorn, closed to whoever does not know the token."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response

from vedette.rpc.contract import DEADLINE_HEADER, HELLO, INSTANCE_HEADER, MAX_BODY, UNREADABLE, Hello
from vedette.rpc.deadline import set_deadline
from vedette.rpc.token import RpcToken

Handler = Callable[[bytes], Awaitable[bytes]]


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
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    answer_hello = msgspec.msgpack.Encoder()
    read_hello = msgspec.msgpack.Decoder(Hello)

    async def hello(body: bytes) -> bytes:
        caller = read_hello.decode(body)
        heard(caller)
        return answer_hello.encode(who())

    def add(path: str, handler: Handler) -> None:
        async def endpoint(request: Request) -> Response:
            headers = request.headers
            if not token.accepts(headers.get("authorization", "")):
                return Response(status_code=401)
            meant = headers.get(INSTANCE_HEADER)
            if meant is not None and meant != who().instance:
                return Response(status_code=409)
            if int(headers.get("content-length") or 0) > MAX_BODY:
                return Response(status_code=413)
            set_deadline(headers.get(DEADLINE_HEADER))
            try:
                content = await handler(await request.body())
            except NotReadyError:
                return Response(status_code=503)
            except WrongInstanceError:
                return Response(status_code=409)
            except UNREADABLE:
                return Response(status_code=400)
            return Response(content, media_type="application/x-msgpack")

        app.add_api_route(path, endpoint, methods=["POST"], response_model=None)

    for path, handler in {HELLO: hello, **handlers}.items():
        add(path, handler)
    return app


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An ASGI application served on a socket of ours, in the loop of the process."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
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
        self._server.should_exit = True
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
