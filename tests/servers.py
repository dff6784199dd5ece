"""One embedded Postgres and Redis for the tests of a run, and an empty migrated database for whoever asks."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from tests.backend import backend_started
from vedette_cli.commands.migrate import bring_to_schema
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis


@dataclass(frozen=True)
class Servers:
    """Where the servers are."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    admin_url: str
    """The database `vedette`, as its owner."""

    def database(self, name: str) -> str:
        """The URL of another database of the same cluster."""
        return self.admin_url.replace("/vedette?", f"/{name}?", 1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """The servers, started once."""
    async with backend_started("servers") as backend:
        await bring_to_schema(backend.url, lambda _: None)
        yield Servers(backend.postgres, backend.redis, backend.url)


_numbers = itertools.count(1)


@pytest.fixture
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """A database of one's own with the schema, dropped at the end."""
    name = f"test{next(_numbers)}"
    connection = await asyncpg.connect(servers.admin_url)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE vedette")
        yield servers.database(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
