"""A TCP way to a Postgres on a unix socket, that can be slow and can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK = 65536
BEGINNING = 512


class PostgresProxy:
    """`delay`: seconds that each piece takes, either way; `cut` ends all connections without a word.

    `lose_answer` loses one, and cuts its connection.
    """

    def __init__(self, socket: Path) -> None:
        self.delay = 0.0
        self.port = 0
        self.passed = 0
        """Pieces that went through."""
        self._to_lose: tuple[bytes, bytes] | None = None
        self._lost = asyncio.Event()
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on any free port of loopback."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self._socket))
            asked = bytearray()
            ways = [
                asyncio.ensure_future(self._ask(reader, far_writer, asked)),
                asyncio.ensure_future(self._answer(far_reader, writer, asked)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            for end in (writer, far_writer):
                if end is not None:
                    end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        """Pass on what the client says; `asked` gets the beginning, in which the application is named."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if len(asked) < BEGINNING:
                    asked += data
                await self._pass(data, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._to_lose is not None and self._to_lose[0] in asked and self._to_lose[1] in data:
                    self._to_lose = None
                    self._lost.set()
                    return
                await self._pass(data, writer)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        writer.write(data)
        await writer.drain()
        self.passed += 1

    def cut(self) -> int:
        """Cut all connections: what was committed and not told stays unknown; how many."""
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        return len(connections)

    async def lose_answer(self, application: str, containing: str) -> None:
        """Lose the next answer to that application which contains a text; return when it is lost."""
        self._lost.clear()
        self._to_lose = application.encode(), containing.encode()
        await self._lost.wait()

    async def stop(self) -> None:
        """Listen no more, and cut all connections."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxied(sockets: Path) -> AsyncIterator[PostgresProxy]:
    """A proxy to the Postgres whose socket is in that folder."""
    proxy = PostgresProxy(sockets / ".s.PGSQL.5432")
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
