"""How `vedette status` and `vedette scale` speak to a running set: one JSON line each way on a unix socket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from vedette_cli.supervisor.folders import Folders

TIMEOUT = 60.0

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers requests with what `handler` returns; an error of its is told as {"error": ...}."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The folder lets in only its owner."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path=self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            answer = await self._handler(request)
        except (ValueError, KeyError, TypeError, OSError) as error:
            answer = {"error": str(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # whoever asked has not waited
            await writer.drain()
        writer.close()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)


class NotRunningError(Exception):
    """No set runs on these data."""


class StillAtWorkError(Exception):
    """A set runs and has not answered in time; what was asked for goes on."""


def ask(data: Path, request: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
    """The answer of the set that runs on the data folder, within `timeout` seconds (None: TIMEOUT).

    Raises NotRunningError or StillAtWorkError.
    """
    timeout = TIMEOUT if timeout is None else timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(Folders(data.resolve()).control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
        except TimeoutError:
            raise StillAtWorkError(f"the set on {data} has not answered within {timeout:g} s") from None
        except OSError:
            raise NotRunningError(
                f"no set runs on {data}; start one with `vedette up`, or name another --data"
            ) from None
    answered: dict[str, Any] = json.loads(line) if line else {"error": "the set ended"}
    return answered
