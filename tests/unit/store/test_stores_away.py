"""Postgres and Redis that are not there: a clear word, at once, and what surely did not happen (invariant 1)."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from vedette.store import redis_link as redis_link_module
from vedette.store.bell import BellListener, ring
from vedette.store.database import Database, StoreUnavailableError
from vedette.store.hash_tables import HashTable, tombstone
from vedette.store.redis_link import RedisAwayError, RedisLink


@pytest.fixture
def nowhere() -> Iterator[str]:
    """host:port where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


async def test_without_postgres_a_call_surely_did_nothing(nowhere: str) -> None:
    database = Database(f"postgresql://vedette@{nowhere}/vedette", size=1, name="test")
    available = [database.available]
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="cannot connect to Postgres"):
            await database.fetch("SELECT 1")
        available.append(database.available)
    assert available == [True, False, False]
    with pytest.raises(StoreUnavailableError):
        await database.connect()
    await database.close()


async def test_a_call_that_finds_no_free_connection_surely_did_nothing() -> None:
    database = Database("postgresql://127.0.0.1:1/", size=0, name="test", call_timeout=0.05)
    with pytest.raises(StoreUnavailableError, match="no free connection"):
        await database.fetch("SELECT 1")


async def test_a_server_that_is_not_postgres_is_no_connection() -> None:
    async def rubbish(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(rubbish, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        database = Database(f"postgresql://vedette@127.0.0.1:{port}/vedette?sslmode=disable", size=1, name="test")
        with pytest.raises(StoreUnavailableError):
            await database.fetch("SELECT 1")


async def test_without_redis_a_call_fails_and_the_next_ones_at_once(
    nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link_module, "PAUSE", 3600.0)
    link = RedisLink(f"redis://{nowhere}")
    asked: list[bool] = []

    async def ask() -> object:
        asked.append(True)
        return await link.client.get("x")

    with pytest.raises(RedisAwayError, match="ConnectionError"):
        await link.run(ask)
    for _ in range(3):
        assert not link.available
        with pytest.raises(RedisAwayError):
            await link.run(ask)
    assert asked == [True]
    await link.close()


async def test_after_a_while_redis_is_asked_again(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link_module, "PAUSE", 0.0)
    link = RedisLink(f"redis://{nowhere}")
    for _ in range(2):
        assert link.available
        with pytest.raises(RedisAwayError, match="ConnectionError"):
            await ring(link)
    await link.close()


async def test_a_fault_that_is_not_redis_is_not_taken_for_its_absence(nowhere: str) -> None:
    link = RedisLink(f"redis://{nowhere}")

    async def fault() -> None:
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError):
        await link.run(fault)
    assert link.available
    await link.close()


async def test_the_tables_say_that_redis_is_away_and_ask_nothing_for_nothing(nowhere: str) -> None:
    link = RedisLink(f"redis://{nowhere}")
    table = HashTable(link, "published", 2)
    await table.put([])
    assert await table.get([]) == []
    assert link.available
    with pytest.raises(RedisAwayError):
        await table.get([(1, b"field")])
    for write in (table.put([tombstone(1, b"field", 1, 0.0)]), table.sweep(0, 0.0), table.count(0)):
        with pytest.raises(RedisAwayError):
            await write
    await link.close()


async def test_a_listener_that_loses_the_bell_wakes_its_notifier_and_tries_again(nowhere: str) -> None:
    link = RedisLink(f"redis://{nowhere}")
    heard = asyncio.Event()
    listener = BellListener(link, "one", heard.set)
    task = asyncio.create_task(listener.listen())
    await asyncio.wait_for(heard.wait(), 20)
    assert not listener.connected
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await link.close()
