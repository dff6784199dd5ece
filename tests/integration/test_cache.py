"""The two hash tables in Redis, and reading through them: what they may hold and what they may not do (invariant 4).

Each test has a Redis of its own, to fill with rubbish, stop and start.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.state_reader import Key, StateReader
from notifier.domain.claims import Claim
from presence_core.adapters import announcer as announcing
from presence_core.adapters.announcer import RedisAnnouncer
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.own_redis import Raw, resetting_proxy
from tests.integration.replicas import Connection, Core
from tests.phone import pidf
from tests.wait import until, until_true
from vedette.identity import presentity_hash
from vedette.records import PublicationRecord
from vedette.rpc.contract import PublishCall, Reply, SubscribeCall
from vedette.store.bell import BellListener, ring
from vedette.store.database import Database
from vedette.store.hash_tables import (
    UNREADABLE,
    Entry,
    HashTable,
    dialog_field,
    manifest_field,
    publication_field,
    read_dialog,
    read_manifest,
    read_publication,
    tombstone,
)
from vedette.store.news import read_news
from vedette.store.redis_link import PAUSE, RedisAwayError, RedisLink, Script, ScriptCall
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis

HASH = presentity_hash(ALICE)
FAR = 4_000_000_000.0
RUBBISH = [b"", b"x", b"\x00" * 40, b"not an entry of ours, but long enough for one", b"9" * 31, b"\xff\xfe" * 30]


@pytest.fixture
def table(link: RedisLink) -> HashTable:
    return HashTable(link, "pres", 9)


def entry(version: int, payload: bytes = b"payload", field: bytes = b"field", expires: float = FAR) -> Entry:
    return Entry(HASH, field, version, expires, payload)


async def held(table: HashTable, field: bytes = b"field") -> tuple[int, bytes] | None:
    (value,) = await table.get([(HASH, field)])
    return value


# the tables


async def test_what_was_put_is_found_and_what_was_not_is_absent(table: HashTable) -> None:
    assert await held(table) is None
    await table.put([entry(7)])
    assert await held(table) == (7, b"payload")
    assert await table.get([(HASH, b"other"), (HASH, b"field"), (HASH + 1, b"field")]) == [
        None,
        (7, b"payload"),
        None,
    ]
    assert await table.get([]) == []
    await table.put([])


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [(7, 8, 8), (8, 7, 8), (7, 7, 7), (9, 10, 10), (10**18, 10**18 + 1, 10**18 + 1), (2**62, 3, 2**62)],
)
async def test_a_newer_version_wins_whatever_came_first(
    table: HashTable, first: int, second: int, stays: int
) -> None:
    await table.put([entry(first, b"first")])
    await table.put([entry(second, b"second")])
    assert await held(table) == (stays, b"second" if stays == second else b"first")


async def test_a_tombstone_keeps_what_is_older_from_coming_back(table: HashTable) -> None:
    now = time.time()
    await table.put([entry(7), tombstone(HASH, b"field", 8, now)])
    await table.put([entry(7)])
    assert await held(table) == (8, b"")
    await table.put([entry(9, b"again")])
    assert await held(table) == (9, b"again")


async def test_a_sweep_removes_what_is_over_and_nothing_else(table: HashTable) -> None:
    old = [entry(1, field=b"old%d" % number, expires=1000 + number) for number in range(1500)]
    await table.put([*old, entry(1, field=b"young", expires=5000)])
    bucket = table.bucket(HASH)
    assert await table.count(bucket) == 1501
    assert await table.sweep(bucket, 4000) == 1500
    assert await table.count(bucket) == 1
    assert await held(table, b"young") == (1, b"payload")


async def test_entries_are_spread_over_all_buckets_in_hash_tags(table: HashTable, raw: Raw) -> None:
    assert table.buckets == 512
    await table.put([Entry(presentity_hash(f"sip:u{n}@x.org"), b"f", 1, FAR, b"p") for n in range(5000)])
    keys = {key.decode() for key in await raw.keys()}
    assert keys == {f"vedette:1:pres:{{{bucket}}}" for bucket in range(512)}


async def test_a_redis_that_forgot_the_scripts_is_taught_them_again(table: HashTable, raw: Raw) -> None:
    await table.put([entry(1)])
    await raw.script_flush()
    await table.put([entry(2)])
    assert await held(table) == (2, b"payload")
    await raw.script_flush()
    assert await table.sweep(table.bucket(HASH), FAR + 1) == 1


async def test_connections_that_redis_ended_meanwhile_are_replaced_at_once(table: HashTable, raw: Raw) -> None:
    await asyncio.gather(*(table.put([entry(number)]) for number in range(5)))
    assert await raw.client_kill_filter(_type="normal", skipme=True) >= 5
    assert await held(table) == (4, b"payload")


async def test_a_call_that_is_given_up_leaves_nothing_for_the_next_one(
    table: HashTable, link: RedisLink, raw: Raw
) -> None:
    await table.put([entry(1), Entry(HASH, b"other", 2, FAR, b"of the other")])
    await raw.client_pause(300)
    reading = asyncio.create_task(table.get([(HASH, b"other")]))
    for _ in range(5):  # it is on its way: the connection of `put` is used
        await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await raw.client_unpause()
    assert await held(table) == (1, b"payload")
    assert link.available


async def test_an_answer_that_is_an_error_leaves_the_others_where_they_belong(
    table: HashTable, link: RedisLink
) -> None:
    wrong, right = Script("return redis.call('HGET', KEYS[1])"), Script("return ARGV[1]")
    await table.put([entry(1)])
    with pytest.raises(RedisAwayError, match="args"):
        await link.run_scripts([ScriptCall(script, ["k"], [b"said"]) for script in (right, wrong, right)])
    await until_true(lambda: link.available, "the pause is over", deadline=PAUSE + 10)
    assert await link.run_scripts([ScriptCall(right, ["k"], [b"one"]), ScriptCall(right, ["k"], [b"two"])]) == [
        b"one",
        b"two",
    ]
    assert await held(table) == (1, b"payload")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
async def test_connections_that_were_reset_are_replaced(
    server: EmbeddedRedis, run: Callable[[Coroutine[None, None, None]], None]
) -> None:
    """Services run on uvloop, which says of one with RuntimeError."""
    async with resetting_proxy(unquote(urlsplit(server.url()).path)) as proxy:

        async def talk() -> None:
            link = RedisLink(f"redis://127.0.0.1:{proxy.port}")
            table = HashTable(link, "pres", 9)
            await asyncio.gather(*(table.put([entry(number)]) for number in range(1, 4)))
            assert proxy.reset() >= 3
            for _ in range(5):
                await asyncio.sleep(0)
            assert await held(table) == (3, b"payload")
            await link.close()

        await asyncio.to_thread(run, talk())


async def test_more_of_a_bucket_is_read_than_lua_takes_at_once(table: HashTable) -> None:
    names = [b"field%d" % number for number in range(9000)]
    await table.put(entry(number, field=name) for number, name in enumerate(names))
    found = await table.get([*((HASH, name) for name in names), (HASH + 1, b"field"), (HASH, b"none")])
    assert found == [*((number, b"payload") for number in range(9000)), None, None]


async def test_a_bucket_is_read_in_pages_each_entry_once_and_no_tombstone(table: HashTable, raw: Raw) -> None:
    bucket = table.bucket(HASH)
    names = {b"field%d" % number for number in range(3000)}
    await table.put(entry(7, field=name, expires=5000) for name in names)
    await table.put([tombstone(HASH, b"removed", 9, time.time())])
    pages = [page async for page in table.pages(bucket, about=100)]
    assert max(map(len, pages)) < 1000
    found = [held for page in pages for held in page]
    assert len(found) == 3000
    assert {held.field for held in found} == names
    assert {held[1:] for held in found} == {(7, 5000.0, b"payload")}
    assert await table.counts(bucket, 2) == [3001, 0]
    await raw.hset(table.key(bucket), b"rubbish", b"?")
    await raw.set(table.key(bucket ^ 1), b"a string")
    assert sum([len(page) async for page in table.pages(bucket)]) == 3000
    assert [page async for page in table.pages(bucket ^ 1)] == []
    assert await table.counts(bucket ^ 1, 1) == [0]
    assert table.unreadable == 3
    assert sum(await table.counts(0, 512)) == 3002


# rubbish in the tables


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
async def test_rubbish_counts_as_absent_and_is_replaced(table: HashTable, raw: Raw, rubbish: bytes) -> None:
    key = table.key(table.bucket(HASH))
    await raw.hset(key, mapping={b"field": rubbish, b"other": rubbish})
    assert await held(table) is None
    assert table.unreadable == 1
    await table.put([entry(1)])
    assert await held(table) == (1, b"payload")
    assert await table.sweep(table.bucket(HASH), 0) == 1  # `other`, which nobody writes
    assert await table.count(table.bucket(HASH)) == 1


async def test_a_key_of_another_kind_holds_up_no_other_bucket(table: HashTable, raw: Raw) -> None:
    await raw.set(table.key(table.bucket(HASH)), b"a string")
    await table.put([Entry(HASH + 1, b"field", 1, FAR, b"neighbour")])
    assert await table.get([(HASH, b"field"), (HASH + 1, b"field")]) == [None, (1, b"neighbour")]
    await table.put([entry(3), Entry(HASH + 1, b"field", 2, FAR, b"neighbour")])
    assert await table.get([(HASH, b"field"), (HASH + 1, b"field")]) == [(3, b"payload"), (2, b"neighbour")]
    await raw.delete(table.key(table.bucket(HASH)))
    await raw.rpush(table.key(table.bucket(HASH)), b"a list")
    assert await table.sweep(table.bucket(HASH), 0) == 0
    assert await held(table) is None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_no_payload_raises_anything_but_what_is_named(payload: bytes) -> None:
    for read in (read_dialog, read_manifest, read_publication):
        with contextlib.suppress(*UNREADABLE):
            read(payload)


# reading through them


@dataclass
class House:
    """A core that announces to Redis, and a notifier that reads from it."""

    core: Core
    publishing: PublishFlow
    subscribing: SubscribeFlow
    announcer: RedisAnnouncer
    store: NotifierStore
    reader: StateReader
    published: HashTable
    dialogs: HashTable

    def new_reader(self) -> StateReader:
        """One without a memory of its own."""
        self.reader = StateReader(self.store, self.published, self.dialogs, remember=0)
        return self.reader

    async def publish(self, call: PublishCall) -> str:
        (reply,) = self.publishing.handle_publish([call])
        return dict((await settled(reply)).headers)["SIP-ETag"]

    async def subscribe(self, call: SubscribeCall) -> str:
        (reply,) = self.subscribing.handle_subscribe([call])
        return (await settled(reply)).to_tag

    async def claim(self) -> Claim:
        (claim,) = await self.store.claim(100, 100)
        return claim

    async def in_cache(self, claim: Claim) -> None:
        """Return when both tables have what the claim needs."""

        async def there() -> bool:
            (dialog,) = await self.dialogs.get([(HASH, dialog_field(claim.dialog_id))])
            (manifest,) = await self.published.get([(HASH, manifest_field(ALICE, "presence"))])
            return dialog is not None and manifest is not None and manifest[0] == claim.version

        await until(there, "the cache has it")

    async def read(self, claim: Claim) -> tuple[str, list[PublicationRecord]]:
        """The dialog's Call-ID and the presentity's publications, as delivery asks for them."""
        dialogs = await self.reader.dialogs([claim])
        key: tuple[Key, int] = ((claim.presentity_hash, claim.presentity_uri, claim.event), claim.version)
        states = await self.reader.states([key])
        return dialogs[claim.dialog_id].call_id, states[key].publications


async def settled(reply: "Reply | asyncio.Future[Reply]") -> Reply:
    answer = reply if isinstance(reply, Reply) else await reply
    assert answer.status == 200, answer
    return answer


@pytest.fixture
async def house(core: Core, database: Database, link: RedisLink) -> AsyncIterator[House]:
    published, dialogs = HashTable(link, "pres", 9), HashTable(link, "subs", 9)
    announcer = RedisAnnouncer(link, published, dialogs)
    store = NotifierStore(database, "notifier-1", patience=40)
    telling = asyncio.create_task(announcer.tell())
    yield House(
        core,
        PublishFlow(core.store.publish, announcer, core.policy, FlowLimits(), core.store.held),
        SubscribeFlow(core.store.subscribe, announcer, core.policy, FlowLimits()),
        announcer,
        store,
        StateReader(store, published, dialogs, remember=0),
        published,
        dialogs,
    )
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_what_the_core_announced_is_read_from_redis_alone(house: House) -> None:
    call = subscribe()
    await house.subscribe(call)
    body = pidf(ALICE, note="cached")
    await house.publish(publish(body=body))
    claim = await house.claim()
    await house.in_cache(claim)
    call_id, publications = await house.read(claim)
    assert call_id == call.call_id
    assert [record.body for record in publications] == [body]
    assert house.reader.hits == {"memory": 0, "redis": 2, "postgres": 0}


async def test_not_10_what_a_ring_told_is_read_nowhere_else(house: House, link: RedisLink, raw: Raw) -> None:
    rings = 0

    def heard() -> None:
        nonlocal rings
        rings += 1

    listener = BellListener(link, "one", heard, house.reader.learn)
    listening = asyncio.create_task(listener.listen())
    try:
        await until_true(lambda: listener.connected, "it listens")
        await house.subscribe(subscribe())
        await until_true(lambda: rings == 1, "the bell was rung for the subscription")
        await house.publish(publish(body=pidf(ALICE, note="told")))
        await until_true(lambda: rings == 2, "and for the publication")
        claim = await house.claim()
        await raw.flushall()
        _, publications = await house.read(claim)
        assert [record.body for record in publications] == [pidf(ALICE, note="told")]
        assert house.reader.hits == {"memory": 2, "redis": 0, "postgres": 0}
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_what_a_presentity_had_before_is_read_along_with_its_manifest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.subscribe(subscribe())
    get, asked, version = house.published.get, list[int](), 0

    async def counted(wanted: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes] | None]:
        asked.append(len(wanted))
        return await get(wanted)

    async def notes() -> list[bytes]:
        """What the newest version consists of, once the table has it."""

        async def newer() -> bool:
            nonlocal version
            (manifest,) = await get([(HASH, manifest_field(ALICE, "presence"))])
            before, version = version, manifest[0] if manifest is not None else 0
            return version > before

        await until(newer, "the cache has the next version")
        asked.clear()
        key: tuple[Key, int] = ((HASH, ALICE, "presence"), version)
        states = await house.reader.states([key])
        return sorted(record.body for record in states[key].publications)

    monkeypatch.setattr(house.published, "get", counted)
    bodies = [pidf(ALICE, note=note) for note in ("first", "second", "third")]
    etag = await house.publish(publish(body=bodies[0]))
    assert (await notes(), asked) == ([bodies[0]], [1, 1])
    etag = await house.publish(publish(etag=etag, body=bodies[1]))
    assert (await notes(), asked) == ([bodies[1]], [2])
    await house.publish(publish(body=bodies[2]))
    assert (await notes(), asked) == (sorted(bodies[1:]), [2, 1])
    await house.publish(publish(etag=etag, expires=0))
    assert (await notes(), asked) == ([bodies[2]], [3])
    assert house.reader.hits["postgres"] == 0


async def test_what_wakes_nobody_is_gathered_and_goes_along_with_what_does(
    table: HashTable, link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "GATHER", 3600.0)
    announcer = RedisAnnouncer(link, table, HashTable(link, "subs", 9))
    telling = asyncio.create_task(announcer.tell())

    async def held(*fields: bytes) -> bool:
        return None not in await table.get([(HASH, field) for field in fields])

    announcer.announce(published=[entry(1, field=b"first")])
    await until(lambda: held(b"first"), "what comes alone is written at once")
    for number in range(20):
        announcer.announce(published=[entry(1, field=b"waits %d" % number)])
        assert not await held(b"waits %d" % number)
    announcer.announce(dialogs=[entry(1)], wake=True)
    await until(lambda: held(*(b"waits %d" % number for number in range(20))), "it is written with the wake-up")

    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    announcer.announce(published=[entry(1, field=b"last")])
    await announcer.tell_now()
    assert await held(b"last")


@pytest.mark.parametrize("cached", [True, False])
async def test_what_was_written_is_told_and_nothing_else(table: HashTable, link: RedisLink, *, cached: bool) -> None:
    """With fallback2db=0 there is no cache of dialogs (and no reader that would take one from a ring)."""
    heard: list[bytes] = []
    listener = BellListener(link, "one", lambda: None, heard.append)
    listening = asyncio.create_task(listener.listen())
    try:
        await until_true(lambda: listener.connected, "it listens")
        announcer = RedisAnnouncer(link, table, HashTable(link, "subs", 9) if cached else None)
        gone = tombstone(HASH, b"removed", 9, FAR)
        announcer.announce(published=[entry(1), gone], dialogs=[entry(2, field=b"dialog")], wake=True)
        await announcer.tell_now()
        await until_true(lambda: heard != [], "the bell was heard")
        news = read_news(heard[0])
        assert news.published == [(b"field", 1, b"payload"), (b"removed", 9, b"")]
        assert news.dialogs == ([(b"dialog", 2, b"payload")] if cached else [])
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_after_a_call_that_wrote_little_there_is_room_for_more(
    table: HashTable, link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "SPACE", 3600.0)
    monkeypatch.setattr(announcing, "ENOUGH", 2)
    announcer = RedisAnnouncer(link, table, HashTable(link, "subs", 9))
    telling = asyncio.create_task(announcer.tell())

    async def held(field: bytes) -> bool:
        return await table.get([(HASH, field)]) != [None]

    for entries in (2, 1):  # the first one is large
        name = b"call of %d" % entries
        announcer.announce(published=[entry(1, field=name)] * entries, wake=True)
        await until(lambda name=name: held(name), "it is written at once")  # type: ignore[misc]
    for _ in range(20):
        announcer.announce(published=[entry(1, field=b"waits")], wake=True)
        assert not await held(b"waits")
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_what_redis_does_not_have_is_read_from_postgres_and_put_back(house: House, raw: Raw) -> None:
    await house.subscribe(subscribe())
    await house.publish(publish())
    claim = await house.claim()
    await house.in_cache(claim)
    expected = await house.read(claim)
    await raw.flushall()
    reader = house.new_reader()
    assert await house.read(claim) == expected
    assert reader.hits == {"memory": 0, "redis": 0, "postgres": 2}
    reader = house.new_reader()
    assert await house.read(claim) == expected
    assert reader.hits == {"memory": 0, "redis": 2, "postgres": 0}


async def test_our_own_memory_is_asked_first_and_only_for_the_same_revision(house: House) -> None:
    await house.subscribe(subscribe())
    claim = await house.claim()
    house.reader = StateReader(house.store, house.published, house.dialogs, remember=10)
    for _ in range(3):
        await house.reader.dialogs([claim])
    assert house.reader.hits["memory"] == 2
    assert await house.reader.dialogs([claim._replace(revision=99)])
    assert house.reader.hits["memory"] == 2


@pytest.mark.parametrize("off", [-1, 1], ids=["older", "newer"])
async def test_an_entry_of_another_version_is_not_used(house: House, sql: Connection, off: int) -> None:
    """What the table has is true, only not what the claim named: Postgres is asked."""
    await house.subscribe(subscribe())
    await house.publish(publish())
    claim = await house.claim()
    await house.in_cache(claim)
    other = claim._replace(version=claim.version - off, revision=claim.revision - off)
    call_id, publications = await house.read(other)
    assert call_id
    assert len(publications) == 1
    assert house.reader.hits == {"memory": 0, "redis": 0, "postgres": 2}


async def test_a_publication_that_is_missing_from_the_table_makes_the_whole_state_a_miss(
    house: House, raw: Raw
) -> None:
    await house.subscribe(subscribe())
    for note in "abc":
        await house.publish(publish(body=pidf(ALICE, note=note)))
    claim = await house.claim()
    await house.in_cache(claim)
    _, expected = await house.read(claim)
    assert len(expected) == 3
    field = publication_field(ALICE, "presence", expected[1].publication_id)
    assert await raw.hdel(house.published.key(house.published.bucket(HASH)), field) == 1
    reader = house.new_reader()
    _, publications = await house.read(claim)
    assert {record.body for record in publications} == {record.body for record in expected}
    assert reader.hits["postgres"] == 1


BAD_PAYLOADS = [
    b"\xc1",
    b"\x91" * 64,
    b"\x94\xa3\xff\xff\xff",
    b"\x80",
    b"plain text",
    b"\xdf\xff\xff\xff\xff",
    b"\x93",
]


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=range(len(BAD_PAYLOADS)))
@pytest.mark.parametrize("what", ["header", "payload"])
async def test_rubbish_is_passed_over_and_healed(house: House, raw: Raw, what: str, payload: bytes) -> None:
    """At the very version that the claim names: dialog, manifest and publication alike."""
    await house.subscribe(subscribe())
    await house.publish(publish())
    claim = await house.claim()
    await house.in_cache(claim)
    expected = await house.read(claim)
    for table in (house.published, house.dialogs):
        key = table.key(table.bucket(HASH))
        for field, value in (await raw.hgetall(key)).items():
            await raw.hset(key, field, payload if what == "header" else value[:32] + payload)
    reader = house.new_reader()
    assert await house.read(claim) == expected
    assert reader.hits == {"memory": 0, "redis": 0, "postgres": 2}
    assert house.dialogs.unreadable == 1
    assert house.published.unreadable == 1
    reader = house.new_reader()
    assert await house.read(claim) == expected
    assert reader.hits["redis"] == 2


async def test_rubbish_in_a_publication_alone_is_passed_over_and_healed(house: House, raw: Raw) -> None:
    await house.subscribe(subscribe())
    etag = await house.publish(publish())
    claim = await house.claim()
    await house.in_cache(claim)
    expected = await house.read(claim)
    key = house.published.key(house.published.bucket(HASH))
    field = publication_field(ALICE, "presence", bytes.fromhex(etag.split(".")[0]))
    value = await raw.hget(key, field)
    assert value is not None
    for bad in (value[:32] + b"\x96\xa1\xff", value[:40], b"?"):
        await raw.hset(key, field, bad)
        reader = house.new_reader()
        assert await house.read(claim) == expected
        assert reader.hits["postgres"] == 1
    assert house.published.unreadable == 3


async def test_a_dialog_in_the_place_of_another_is_not_used(house: House, raw: Raw) -> None:
    first, second = subscribe(), subscribe()
    await house.subscribe(first)
    await house.subscribe(second)
    claims = await house.store.claim(10, 10)
    for claim in claims:
        await house.reader.dialogs([claim])
    key = house.dialogs.key(house.dialogs.bucket(HASH))
    fields = [dialog_field(claim.dialog_id) for claim in claims]
    values = [await raw.hget(key, field) for field in fields]
    await raw.hset(key, mapping=dict(zip(fields, reversed(values), strict=True)))
    reader = house.new_reader()
    found = await reader.dialogs(claims)
    assert all(found[claim.dialog_id].dialog_id == claim.dialog_id for claim in claims)
    assert {record.call_id for record in found.values()} == {first.call_id, second.call_id}
    assert reader.hits["postgres"] == 2


# Redis away


async def test_while_redis_is_away_everything_comes_from_postgres(
    house: House, server: EmbeddedRedis, link: RedisLink
) -> None:
    await house.subscribe(subscribe())
    first = await house.claim()
    await server.stop()
    etag = await house.publish(publish(body=pidf(ALICE, note="while it was away")))
    call_id, publications = await house.read(first)
    assert call_id
    assert [b"while it was away" in record.body for record in publications] == [True]
    assert house.reader.hits["redis"] == 0
    assert not link.available
    with pytest.raises(RedisAwayError):
        await ring(link)
    await until_true(lambda: house.announcer.dropped > 0, "what could not be told is dropped and counted")

    await server.start()
    await until_true(lambda: link.available, "it is tried again")
    await house.publish(publish(etag=etag, body=pidf(ALICE, note="back again")))

    async def used_again() -> bool:
        reader = house.new_reader()
        version = await house.store.states([(HASH, ALICE, "presence")])
        claim = first._replace(version=version[HASH, ALICE, "presence"].manifest.version)
        _, publications = await house.read(claim)
        assert [b"back again" in record.body for record in publications] == [True]
        return reader.hits == {"memory": 0, "redis": 2, "postgres": 0}

    await until(used_again, "both tables are used again")


async def test_while_redis_is_away_nobody_waits_for_it(server: EmbeddedRedis, link: RedisLink) -> None:
    """After the first failure nothing is tried for a pause, then one call tries."""
    table = HashTable(link, "pres", 9)
    await server.stop()
    with pytest.raises(RedisAwayError):
        await table.put([entry(1)])
    tried = 0

    async def command() -> None:
        nonlocal tried
        tried += 1

    for _ in range(100):
        if link.available:  # a slow machine
            break
        with pytest.raises(RedisAwayError):
            await link.run(command)
    assert tried == 0
    await until_true(lambda: link.available, "the pause is over", deadline=PAUSE + 10)
    await link.run(command)
    assert tried == 1


async def test_wake_ups_are_heard_again_after_redis_was_away(server: EmbeddedRedis, link: RedisLink) -> None:
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1

    listening = RedisLink(server.url())
    listener = BellListener(listening, "one", hear)
    task = asyncio.create_task(listener.listen())
    try:
        await until_true(lambda: listener.connected, "it listens")

        async def rung() -> bool:
            before = heard
            with contextlib.suppress(RedisAwayError):
                await ring(link)
                await asyncio.sleep(0)
            return heard > before

        await until(rung, "a wake-up is heard")
        await server.stop()
        await until_true(lambda: not listener.connected, "it knows that it is deaf")
        await server.start()
        await until_true(lambda: listener.connected, "it listens again")
        await until(rung, "a wake-up is heard again")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await listening.close()
