"""What the tests of this folder share: a database that is empty at the start of each, a replica of presence-core."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from notifier.adapters.postgres import NotifierStore
from tests.integration.own_redis import link, raw, server
from tests.integration.replicas import Connection, Core
from tests.servers import Servers
from vedette.store.database import Database

__all__ = ["core", "database", "database_url", "link", "notifier", "raw", "server", "shared_database_url", "sql"]

TABLES = ("change_event", "delivery", "active_watchers", "presentity", "presentity_state", "replica")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_database_url(servers: Servers) -> str:
    """One database for this folder: making one takes longer than most of its tests."""
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute("CREATE DATABASE integration TEMPLATE vedette")
    await connection.close()
    return servers.database("integration")


@pytest.fixture
async def database_url(shared_database_url: str) -> str:
    """The database, emptied; a sequence goes on, as in life."""
    connection = await asyncpg.connect(shared_database_url)
    await connection.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))
    await connection.close()
    return shared_database_url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The production adapter."""
    opened = Database(database_url, size=4, name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Connection]:
    """A plain connection to the same database, to look and to turn clocks."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def core(database: Database) -> Core:
    """One replica of presence-core."""
    return Core(database)


@pytest.fixture
def notifier(database: Database) -> NotifierStore:
    """What a notifier does in Postgres."""
    return NotifierStore(database, "notifier", patience=40)
