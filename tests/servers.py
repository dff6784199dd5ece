"""One embedded Postgres and Redis for the tests of a run, and an empty migrated database for whoever asks."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from tests.folders import open_folder
from vedette_cli.commands.migrate import bring_to_schema, make_secret_files
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis
from vedette_cli.supervisor.folders import open_data_folder
from vedette_cli.supervisor.unprivileged import choose_user


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
    with open_folder("servers") as path:
        folders, _ = open_data_folder(path)
        make_secret_files(folders.secrets)
        user = choose_user()
        postgres, redis = EmbeddedPostgres(folders, user), EmbeddedRedis(folders, user)
        await postgres.prepare()
        await postgres.start()
        await redis.prepare()
        await redis.start()
        password = (folders.secrets / "database_password").read_text(encoding="ascii").strip()
        admin_url = postgres.url().replace("vedette@", f"vedette:{password}@", 1)
        await bring_to_schema(admin_url, lambda _: None)
        yield Servers(postgres, redis, admin_url)
        await redis.stop()
        await postgres.stop()


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
