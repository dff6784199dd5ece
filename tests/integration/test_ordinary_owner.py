"""All that Vedette does in its database needs no more than to own it: no superuser, no extension, no special role."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from notifier.adapters.liveness import Liveness
from notifier.adapters.postgres import NotifierStore
from tests.integration.calls import publish, subscribe
from tests.integration.replicas import Core
from tests.servers import Servers
from vedette.store.database import Database
from vedette_cli.commands.migrate import bring_to_schema

ROLE = "ordinary"
PASSWORD = "ordinary"


@pytest.fixture
async def owner_url(servers: Servers) -> AsyncIterator[str]:
    """An empty database of a role that may do nothing but that."""
    connection = await asyncpg.connect(servers.admin_url)
    try:
        await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        await connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
        yield f"postgresql://{ROLE}:{PASSWORD}@/{ROLE}?{urlsplit(servers.admin_url).query}"
        await connection.execute(f"DROP DATABASE {ROLE} WITH (FORCE)")
        await connection.execute(f"DROP ROLE {ROLE}")
    finally:
        await connection.close()


async def test_an_ordinary_owner_migrates_and_works(owner_url: str) -> None:
    said: list[str] = []
    names = {"presentity": "theirs", "active_watchers": "active_watchers", "watchers": "watchers"}
    await bring_to_schema(owner_url, said.append, names)
    await bring_to_schema(owner_url, said.append)
    assert "made the cluster secret" in said
    database = Database(owner_url, size=2, name="test")
    try:
        facts = await database.fetch(
            "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = $1", ROLE
        )
        assert [tuple(row) for row in facts] == [(False, False, False)]
        core = Core(database)
        [subscribed] = await core.subscribe(subscribe())
        [published] = await core.publish(publish())
        assert (subscribed.status, published.status) == (200, 200)
        store = NotifierStore(database, "n", patience=40)
        assert [claim.dialog_id for claim in await store.claim(10, 10)] == [subscribed.dialog_id]
        assert await store.expire(10) == []
        assert await store.sweep(1.0, 10) == 0
        assert await store.clear_marks(["n"], 10, 0.0) == 1
        assert await store.rehome("e", "f", "127.0.0.1:1", 10) >= 0
        assert await Liveness(database, "n").missing() == []
    finally:
        await database.close()
