"""A Redis of one's own, to fill with rubbish, stop and start."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
import redis.asyncio

from tests.folders import open_folder
from vedette.store.redis_link import RedisLink
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis
from vedette_cli.supervisor.folders import open_data_folder
from vedette_cli.supervisor.unprivileged import choose_user

Raw: TypeAlias = Any
"""redis.asyncio.Redis; the types of its answers depend on settings that mypy does not see."""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedRedis]:
    """A running Redis."""
    with open_folder("redis") as path:
        folders, _ = open_data_folder(path)
        embedded = EmbeddedRedis(folders, choose_user())
        folders.sockets.mkdir(parents=True, exist_ok=True)
        choose_user().own(folders.sockets)
        await embedded.prepare()
        await embedded.start()
        yield embedded
        await embedded.stop()


@pytest.fixture
async def link(server: EmbeddedRedis) -> AsyncIterator[RedisLink]:
    opened = RedisLink(server.url())
    yield opened
    await opened.close()


@pytest.fixture
async def raw(server: EmbeddedRedis) -> AsyncIterator[Raw]:
    """Another client, to look and to do harm."""
    client = redis.asyncio.Redis.from_url(server.url())
    yield client
    await client.aclose()


class ResettingProxy:
    """A TCP way to a Redis on a unix socket; its clients may have a loop of their own, in another thread."""

    def __init__(self, path: str) -> None:
        self.port = 0
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._clients: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes from either side until one of them ends."""
        self._clients.add(writer)
        far_reader, far_writer = await asyncio.open_unix_connection(self._path)
        ways = [asyncio.create_task(_pass_on(*way)) for way in ((reader, far_writer), (far_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._clients.discard(writer)
        writer.transport.abort()
        far_writer.transport.abort()

    def reset(self) -> int:
        """End all connections with RST; how many there were. For another thread than that of the loop."""
        return asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()

    async def _reset(self) -> int:
        clients = list(self._clients)
        for client in clients:
            connection: socket.socket = client.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
        while self._clients:
            await asyncio.sleep(0)
        return len(clients)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def resetting_proxy(path: str) -> AsyncIterator[ResettingProxy]:
    """A running one."""
    proxy = ResettingProxy(path)
    async with await asyncio.start_server(proxy.connected, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
