"""The health check of a container, as its engine runs it, against the servers that it asks."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from vedette.rpc.contract import Hello
from vedette.rpc.server import HttpServer, listen, rpc_app
from vedette.rpc.token import RpcToken
from vedette.runtime.process import Identity

TOKEN = "0123456789abcdef"

Check = Callable[..., Awaitable[tuple[int, str]]]


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[int]:
    """The port that the application answers on."""
    listener = listen("127.0.0.1", 0)
    server = HttpServer(app, listener)
    await server.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        await server.stop()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Exit code and output of a check with a token in its file."""

    async def run(*arguments: object, token: str | None = TOKEN) -> tuple[int, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
        if token is not None:
            file = tmp_path / "rpc_token"
            file.write_text(token + "\n")
            environment["VEDETTE_RPC_TOKEN_FILE"] = str(file)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "vedette.runtime.health"),
            *(str(argument) for argument in arguments),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    return run


async def test_a_service_is_healthy_as_long_as_it_says_that_it_is_ready(check: Check) -> None:
    identity = Identity("presence-core")
    heard: list[Hello] = []
    app = rpc_app(token=RpcToken(TOKEN), who=identity.hello, handlers={}, heard=heard.append)
    async with serving(app) as port:
        assert await check("rpc", port) == (1, "says that it is not ready\n")
        identity.ready = True
        assert await check("rpc", port) == (0, "ready\n")
        assert await check("rpc", port, token="another-token-of-length") == (1, "answered 401\n")
    assert {hello.service for hello in heard} == {"health"}  # no core takes it for an edge


async def test_the_api_is_healthy_as_long_as_the_set_is_ready(check: Check) -> None:
    app = FastAPI()
    status = 503

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        return JSONResponse({"ready": status == 200}, status_code=status)

    async with serving(app) as port:
        assert await check("rest", port, token=None) == (1, 'answered 503: {"ready":false}\n')
        status = 200
        assert await check("rest", port, token=None) == (0, "ready\n")


@pytest.mark.parametrize("kind", ["rpc", "rest"])
async def test_nobody_there_is_unhealthy_and_says_so_in_one_line(kind: str, check: Check) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = int(listener.getsockname()[1])
    code, output = await check(kind, port)
    assert code == 1
    assert output.startswith("ConnectionRefusedError: ")
    assert output.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("rpc",), ("rpc", "eight"), ("rpc", 8070)])
async def test_a_check_that_was_set_up_wrongly_is_unhealthy(arguments: tuple[object, ...], check: Check) -> None:
    code, output = await check(*arguments, token=None)
    assert code == 1
    assert "Error: " in output
