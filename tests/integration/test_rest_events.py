"""Live events over REST: readers, their limits, and what they are told that they missed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest

from presence_core.adapters.live_hub import LiveHub
from presence_core.adapters.live_source import LiveSource
from presence_core.adapters.rest.parts import Live
from tests.integration.own_redis import link, server
from tests.integration.replicas import Core
from tests.integration.rest_api import RestApi, parts_of, served
from tests.sse import Event, reading
from tests.wait import until, until_true
from vedette.live import NOBODY, LiveBatch, LiveEvent
from vedette.rpc.contract import Hello
from vedette.store.api_tokens import Role
from vedette.store.database import Database
from vedette.store.live_feed import LiveFeed
from vedette.store.redis_link import RedisLink
from vedette.store.replicas import record, seen_within
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis

__all__ = ["link", "server"]

QUEUE = 200
BATCH = 100


def happened(number: int, user: str = "alice", domain: str = "example.com", width: int = 0) -> LiveEvent:
    """A change of a publication, with its number as the version."""
    uri = f"sip:{user}@{domain}"
    return LiveEvent("publication", "modified", 1000.0 + number, uri, "presence", "i" * (40 + width), version=number)


def versions(events: list[Event]) -> list[int]:
    return [event.data["version"] for event in events]


@dataclass
class Scene:
    """An API and its hub, which is fed by hand."""

    api: RestApi
    hub: LiveHub
    told: int = 0

    @property
    def url(self) -> str:
        return f"{self.api.url}/api/v1/events"

    def tell(self, *events: LiveEvent) -> None:
        self.told += 1
        self.hub.take(LiveBatch("core-1", "presence-core", self.told, list(events)))


@pytest.fixture
async def scene(database: Database, core: Core) -> AsyncIterator[Scene]:
    hub = LiveHub("epoch", buffer=300, queue=QUEUE, readers=3)
    async with served(parts_of(database, core, hub=hub), is_open=True) as api:
        yield Scene(api, hub)


async def test_parameter_api_live_queue_a_slow_reader_is_dropped_and_others_are_not_hurt(scene: Scene) -> None:
    place = urlsplit(scene.api.url)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    with slow:
        await loop.sock_connect(slow, (place.hostname, place.port))
        await loop.sock_sendall(slow, b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        await until_true(lambda: scene.hub.readers == 1, "the slow reader has joined")
        async with reading(scene.url) as quick:
            told = 0

            async def tell_and_read() -> None:
                nonlocal told
                scene.tell(*(happened(told + number, width=4000) for number in range(BATCH)))
                seen = [await quick.next() for _ in range(BATCH)]
                assert versions([event for event in seen if event is not None]) == list(range(told, told + BATCH))
                told += BATCH

            # The kernel takes some megabytes for the slow one; then its queue is full.
            while scene.hub.dropped == 0:
                await tell_and_read()
                assert told < 100_000
            await tell_and_read()
            received = b""
            async with asyncio.timeout(20):
                while data := await loop.sock_recv(slow, 65536):
                    received += data
            await tell_and_read()
        last = received.rpartition(b"event: ")[2]
        assert last.startswith(b'dropped\ndata: {"reason":"slow"')
        assert received.count(b"event: publication") < told
        await until_true(lambda: scene.hub.readers == 0, "both have gone")


async def test_parameter_api_live_buffer_who_comes_back_gets_what_it_missed_or_is_told_that_it_is_gone(
    scene: Scene,
) -> None:
    async with reading(scene.url, presentity="sip:alice@example.com") as stream:
        scene.tell(happened(1), happened(2, "bob"), happened(3))
        first = await stream.next()
        assert first is not None
    await until_true(lambda: scene.hub.readers == 0, "it has gone")
    scene.tell(happened(4), happened(5, "bob"))
    resumed = {"Last-Event-ID": first.id}
    async with reading(scene.url, headers=resumed, presentity="alice@example.com", seconds="0") as stream:
        assert versions(await stream.rest()) == [3, 4]
    scene.tell(*(happened(number) for number in range(400)))
    for last in (
        first.id,
        "another-1",
        "epoch-99999",
        "",
        "-",
        "epoch-\N{SUPERSCRIPT TWO}".encode().decode("latin-1"),
    ):
        async with reading(scene.url, headers={"Last-Event-ID": last}, seconds="0") as stream:
            (gap,) = await stream.rest()
            assert (gap.name, gap.data["reason"]) == ("gap", "too_late"), last


async def test_readers_see_their_domain_and_their_kinds(database: Database, core: Core) -> None:
    hub = LiveHub("epoch", buffer=300, queue=QUEUE, readers=3)
    async with served(parts_of(database, core, hub=hub), is_open=False) as api:
        scene = Scene(api, hub)
        scoped = {"Authorization": f"Bearer {await api.token(Role.READER, 'example.net')}"}
        async with reading(scene.url, headers=scoped, kind=["publication", "notify"]) as stream:
            scene.tell(
                happened(1),
                happened(2, domain="example.net"),
                LiveEvent("subscription", "created", 1.0, "sip:a@example.net", "presence", "s", "sip:w@example.com"),
                LiveEvent("notify", "failed", 1.0, "sip:a@example.net", "presence", "s", code=503, cseq=4),
                LiveEvent("notify", "timeout", 1.0, "sip:a@example.com", "presence", "s", cseq=4),
            )
            seen = [await stream.next(), await stream.next()]
            assert [(event.name, event.data.get("code")) for event in seen if event] == [
                ("publication", None),
                ("notify", 503),
            ]
        for query in ({"presentity": "sip:a@example.com"}, {"domain": "example.com"}):
            (await api.call("GET", "/api/v1/events", headers=scoped, **query)).problem(403)
        (await api.call("GET", "/api/v1/events", headers=scoped, kind="bodies")).problem(422)


async def test_a_stream_ends_with_its_token(database: Database, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presence_core.adapters.rest.live_events.HEARTBEAT", 0.05)
    monkeypatch.setattr("presence_core.adapters.rest.access.REMEMBERED", 0.0)
    async with served(parts_of(database, core), is_open=False) as api:
        token = await api.token(Role.READER)
        async with reading(f"{api.url}/api/v1/events", headers={"Authorization": f"Bearer {token}"}) as stream:
            await database.fetch("UPDATE api_token SET revoked = clock_timestamp()")
            (last,) = await stream.rest()
        assert (last.name, last.data["reason"]) == ("dropped", "token")
        assert stream.comments > 1


async def test_parameter_api_live_readers_is_how_many_readers_there_may_be(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(reading(scene.url))
        refused = await scene.api.call("GET", "/api/v1/events")
        assert "api_live_readers" in refused.problem(429)["detail"]
        assert refused.headers["Retry-After"] == "10"
    await until_true(lambda: scene.hub.readers == 0, "they have gone")
    assert (await scene.api.call("GET", "/api/v1/events", seconds=0)).status == 200


async def test_streams_end_when_the_process_stops(scene: Scene) -> None:
    async with reading(scene.url) as stream:
        scene.tell(happened(1))
        scene.hub.close()
        names = [(event.name, event.data.get("reason")) for event in await stream.rest()]
    assert names == [("publication", None), ("dropped", "stopping")]


@dataclass
class Wired:
    """An API that listens through Redis, and two processes that tell."""

    url: str
    hub: LiveHub
    feeds: list[LiveFeed]
    kill: Callable[[], object]
    """Ends the first of them."""


@pytest.fixture
async def wired(database: Database, core: Core, server: EmbeddedRedis, link: RedisLink) -> AsyncIterator[Wired]:
    hub = LiveHub("epoch", buffer=300, queue=QUEUE, readers=3)
    source = LiveSource(hub, link, database)
    links = [RedisLink(server.url()) for _ in range(2)]
    feeds = [LiveFeed(own, f"core-{number}", "presence-core") for number, own in enumerate(links)]
    hellos = [
        Hello("presence-core", f"core-{n}", f"127.0.0.1:{n}", "1", n, "host", 1.0, ready=True) for n in range(2)
    ]
    parts = replace(parts_of(database, core), live=Live(hub, source.begin, NOBODY))

    async def beat() -> None:
        while True:
            await record(database, hellos)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(run()) for run in (source.run, beat, *(feed.run for feed in feeds))]
    async with served(parts, is_open=True) as api:
        await until_true(lambda: source.connected, "it is connected to Redis")

        async def seen() -> bool:
            return len(await seen_within(database, 5)) == len(feeds)

        await until(seen, "the processes are known")
        yield Wired(f"{api.url}/api/v1/events", hub, feeds, tasks[-2].cancel)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for own in links:
        await own.close()


async def test_all_processes_tell_as_soon_as_somebody_listens_and_not_before(wired: Wired) -> None:
    one, two = wired.feeds
    assert [feed.wanted for feed in wired.feeds] == [False, False]
    async with reading(wired.url) as stream:
        assert [feed.wanted for feed in wired.feeds] == [True, True]
        one.tell([happened(1)])
        assert versions(await stream.until(bool)) == [1]
        two.tell([happened(2)])
        assert versions(await stream.until(bool)) == [2]


async def test_what_a_process_could_not_tell_is_a_gap(wired: Wired) -> None:
    one, two = wired.feeds
    async with reading(wired.url) as stream:
        one.missed()
        one.tell([happened(1)])
        seen = await stream.until(lambda event: event.name == "publication")
        assert [(event.name, event.data.get("reason")) for event in seen] == [("gap", "lost"), ("publication", None)]
        two.missed()
        (gap,) = await stream.until(bool)  # nothing more is told: the number alone shows it
        assert (gap.name, gap.data["reason"]) == ("gap", "lost")
        assert "core-1" in gap.data["detail"]
        await one.leave()
        two.tell([happened(2)])
        assert versions(await stream.until(bool)) == [2]


async def test_a_gap_is_told_when_redis_is_restarted_and_the_stream_goes_on(
    wired: Wired, server: EmbeddedRedis
) -> None:
    one, two = wired.feeds
    async with reading(wired.url) as stream:
        one.tell([happened(1)])
        assert versions(await stream.until(bool)) == [1]
        await server.stop()
        (lost,) = await stream.until(bool)
        assert (lost.name, lost.data["reason"]) == ("gap", "redis")
        one.tell([happened(2)])
        async with reading(wired.url) as late:
            (gap,) = await late.until(bool)
            assert (gap.name, gap.data["reason"]) == ("gap", "redis")
        await server.start()
        seen = await stream.until(lambda event: "until" in event.data)
        assert {event.name for event in seen} <= {"gap", "publication"}
        assert seen[-1].data["since"] < seen[-1].data["until"]
        one.tell([happened(3)])
        two.tell([happened(4)])
        after = [await stream.next(), await stream.next()]
        assert sorted(versions([event for event in after if event is not None])) == [3, 4]


async def test_a_process_that_was_killed_is_a_gap(wired: Wired) -> None:
    async with reading(wired.url) as stream:
        wired.kill()
        (gap,) = await stream.until(bool)
        assert (gap.name, gap.data["reason"]) == ("gap", "silent")
        assert "core-0" in gap.data["detail"]
