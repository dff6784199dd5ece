"""What is over ends and is swept, with or without Redis (rows PUB-18, SUB-14, NOT-27)."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from notifier.domain.ended import Ended
from notifier.flows import expiry as expiry_module
from notifier.flows.expiry import BATCH, REPLICA_AGE, TOMBSTONE_AGE, Expiry
from tests.unit.notifier.claimed import ALICE
from tests.unit.notifier.worlds import EndingStore
from tests.wait import until_true
from vedette.store.database import StoreUnavailableError
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisAwayError, RedisLink

ENDED = [
    Ended("publication", 1, ALICE, "presence", b"p", 6, 0, ((b"q", 5),), True),
    Ended("dialog", 1, ALICE, "presence", b"d", 0, 3, (), False),
]


@pytest.fixture
def no_redis() -> Iterator[RedisLink]:
    """A link to a Redis that is not there."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield RedisLink(f"redis://127.0.0.1:{sock.getsockname()[1]}")


class Told:
    """Who was woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.rung = 0

    def wake(self) -> None:
        self.woken += 1

    async def ring(self) -> None:
        self.rung += 1
        raise RedisAwayError


def expiry(store: EndingStore, link: RedisLink, told: Told) -> Expiry:
    return Expiry(
        store,
        HashTable(link, "published", 2),
        HashTable(link, "dialogs", 2),
        wake=told.wake,
        ring=told.ring,
        clean_period=0,
    )


async def run_until(run: asyncio.Task[None], check: Callable[[], object], what: str) -> None:
    try:
        await until_true(check, what)
    finally:
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run


async def test_pub_18_and_sub_14_what_ended_wakes_the_notifiers_though_redis_is_away(no_redis: RedisLink) -> None:
    store, told = EndingStore(ENDED), Told()
    run = asyncio.create_task(expiry(store, no_redis, told).run())
    await run_until(run, lambda: store.expired > 1, "it looks again")
    assert (told.woken, told.rung) == (1, 1)
    await no_redis.close()


async def test_a_batch_that_is_full_but_for_what_others_lock_is_followed_by_the_next_at_once(
    no_redis: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_module, "INTERVAL", 3600.0)
    half = BATCH // len(ENDED) // 2
    store, told = EndingStore(ENDED * (2 * half), ENDED * half, ENDED), Told()
    run = asyncio.create_task(expiry(store, no_redis, told).run())
    await run_until(run, lambda: told.woken == 3, "all three batches are told")
    assert store.expired == 3
    await no_redis.close()


async def test_a_store_that_is_away_is_asked_again(no_redis: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry_module, "INTERVAL", 0.01)
    store, told = EndingStore(StoreUnavailableError("gone"), StoreUnavailableError("gone"), ENDED), Told()
    run = asyncio.create_task(expiry(store, no_redis, told).run())
    await run_until(run, lambda: told.woken, "what ended is told")
    await no_redis.close()


async def test_the_sweep_goes_on_until_nothing_is_left_and_comes_again(no_redis: RedisLink) -> None:
    store = EndingStore()
    store.tombstones = [BATCH, 3, 0, StoreUnavailableError("gone"), 1]
    run = asyncio.create_task(expiry(store, no_redis, Told()).sweep())
    await run_until(run, lambda: len(store.forgotten) >= 2, "it has swept twice")
    assert set(store.swept) == {(TOMBSTONE_AGE, BATCH)}
    assert store.tombstones == []
    assert set(store.forgotten) == {REPLICA_AGE}
    await no_redis.close()


def test_a_tombstone_outlives_the_copies_of_its_request() -> None:
    assert TOMBSTONE_AGE > 64 * 0.5 + 25 + 7
