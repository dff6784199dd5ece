"""What the tests of this folder share: a database that is empty at the start of each, a replica of presence-core."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.redis_dialogs import RedisDialogStore
from tests.integration.dialogs_in_redis import DialogsInRedis
from tests.integration.own_redis import link, raw, server
from tests.integration.replicas import OPEN, POLICY, Core, DialogStore, MakeCore, MakeNotifier, Sql, SqlOfRedis
from tests.servers import Servers
from vedette.store import redis_link
from vedette.store.database import Database

__all__ = ["core", "database", "database_url", "link", "notifier", "raw", "server", "shared_database_url", "sql"]

TABLES = (
    *("claim_fence", "notify_claim"),
    *("change_event", "delivery", "active_watchers", "presentity", "presentity_state", "replica", "subscriber"),
    *("api_token", "audit", "rest_answer", "location", "webhook"),
    *("xcap", "watcher_rules", "watchers"),
)


@pytest.fixture(scope="session", autouse=True)
def _redis_is_not_given_up_because_we_are_slow() -> Iterator[None]:
    """Half a second is soon over in a process that stands still; a test whose Redis hangs says how long it waits."""
    defaults = redis_link.RedisLink.__init__.__kwdefaults__
    assert defaults is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_link, "TIMEOUT", 20.0)
        patch.setitem(defaults, "timeout", 20.0)
        yield


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
    await connection.execute("UPDATE dialog_keeping SET epoch = 1, size = 0, loads = 0")
    await connection.close()
    return shared_database_url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The production adapter."""
    opened = Database(database_url, size=4, name="test")
    yield opened
    await opened.close()


@pytest.fixture
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Where the dialogs are: `postgres` or `redis`. Modules and tests that hold for both say so."""
    return str(getattr(request, "param", "postgres"))


@pytest.fixture
async def in_redis(dialogs_in: str, database: Database, servers: Servers) -> AsyncIterator[DialogsInRedis | None]:
    """The dialogs in Redis, none at the start; None where they are in Postgres."""
    if dialogs_in == "postgres":
        yield None
        return
    opened = DialogsInRedis(servers.redis.url().replace("db=0", "db=3"), database)
    await opened.empty()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def sql(database_url: str, in_redis: DialogsInRedis | None) -> AsyncIterator[Sql]:
    """A plain connection to the same database, to look and to turn clocks."""
    connection = await asyncpg.connect(database_url)
    yield connection if in_redis is None else SqlOfRedis(connection, in_redis)
    await connection.close()


@pytest.fixture
def make_core(database: Database, in_redis: DialogsInRedis | None) -> MakeCore:
    """Makes replicas of presence-core: `make_core(policy)`."""
    tables = None if in_redis is None else in_redis.tables
    return lambda policy, own=None, defaults=OPEN: Core(own or database, policy, tables, defaults)


@pytest.fixture
def core(make_core: MakeCore) -> Core:
    """One replica of presence-core."""
    return make_core(POLICY)


@pytest.fixture
def make_notifier(database: Database, in_redis: DialogsInRedis | None) -> MakeNotifier:
    """Makes what a notifier does with dialogs: `make_notifier("name")`."""

    def make(name: str, own: Database | None = None, *, mixes_calls: bool = False) -> DialogStore:
        store = NotifierStore(own or database, name, patience=40, mix_dialog_presence=mixes_calls)
        if in_redis is None:
            return store
        return RedisDialogStore(store, in_redis.tables, name, patience=40, keep_soon=in_redis.keeper.soon)

    return make


@pytest.fixture
def notifier(make_notifier: MakeNotifier) -> DialogStore:
    """What a notifier does with dialogs."""
    return make_notifier("notifier")
