"""A Redis of one's own, to fill with rubbish, stop and start."""

from collections.abc import AsyncIterator
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
