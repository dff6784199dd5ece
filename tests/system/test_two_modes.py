"""`fallback2db=1`: many replicas on one database, with a cache that may be warm, cold or gone.

Requests go to whichever replica the edge chooses, in an order that nobody planned, so that a dialog or a publication
that one replica made is refreshed, changed and ended through others. A trigger writes down who did what.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from tests.conformance.observed import fetched, notes, publications, subscriptions
from tests.phone import Dialog, Message, Phone, learn, opened, pidf, token
from tests.running_set import RunningSet, started
from tests.wait import until
from vedette.identity import parse_entity_tag, parse_to_tag, presentity_hash
from vedette.store.hash_tables import HashTable, dialog_field, manifest_field
from vedette.store.redis_link import RedisAwayError, RedisLink
from vedette_cli.supervisor.control import ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")
REPLICAS = 3
PRESENTITIES = 5

RECORD_WRITERS = """
CREATE TABLE written (number bigserial, id bytea NOT NULL, application text NOT NULL);
CREATE FUNCTION write_down_publication() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO written (id, application) VALUES (NEW.publication_id, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE FUNCTION write_down_dialog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO written (id, application) VALUES (NEW.dialog_id, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER write_down AFTER INSERT OR UPDATE ON presentity
    FOR EACH ROW EXECUTE FUNCTION write_down_publication();
CREATE TRIGGER write_down AFTER INSERT OR UPDATE ON active_watchers
    FOR EACH ROW EXECUTE FUNCTION write_down_dialog();
"""


@dataclass(frozen=True)
class House:
    """The set, and ways to look behind it."""

    running: RunningSet
    database: Connection
    database_url: str
    redis_url: str

    async def writers(self, ids: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Which replicas of presence-core wrote each of these rows, in order; not the notifiers that did."""
        rows = await self.database.fetch(
            "SELECT id, application FROM written WHERE id = ANY ($1::bytea[]) "
            "AND application LIKE 'vedette presence-core %' ORDER BY number",
            list(ids),
        )
        found: dict[bytes, list[str]] = defaultdict(list)
        for row in rows:
            found[row["id"]].append(row["application"].split()[-1])
        return found

    async def flush(self) -> None:
        """Empty Redis."""
        client = redis.asyncio.Redis.from_url(self.redis_url)
        try:
            assert await client.flushall()
        finally:
            await client.aclose()

    async def core_that_waits(self) -> str:
        """The instance of a core whose call waits for a lock, as soon as there is one."""

        async def waiting() -> str | None:
            name: str | None = await self.database.fetchval(
                "SELECT application_name FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND application_name LIKE 'vedette presence-core %'"
            )
            return None if name is None else name.split()[-1]

        instance = await until(waiting, "a core waits for the lock")
        assert instance is not None
        return instance

    async def cores(self) -> set[str]:
        """The instances of the replicas that run now."""

        async def listed() -> set[str] | None:
            pids = {row["pid"] for row in await self.running.processes("core")}
            page = await self.running.get("/api/v1/replicas")
            found = {row["instance"] for row in page["items"] if row["pid"] in pids}
            return found if len(found) == REPLICAS else None

        found = await until(listed, "every replica is listed")
        assert found is not None
        return found

    async def pid_of(self, instance: str) -> int:
        """Of a replica."""
        page = await self.running.get("/api/v1/replicas")
        return next(int(row["pid"]) for row in page["items"] if row["instance"] == instance)

    async def redis_pid(self) -> int:
        """Of the Redis that runs; the supervisor starts one that died again."""

        async def running() -> int:
            (row,) = await self.running.processes("redis")
            return int(row["pid"] or 0)

        return await until(running, "a Redis runs")

    @contextlib.asynccontextmanager
    async def redis_that_nobody_reaches(self) -> AsyncIterator[None]:
        """Its socket has another name, and all connections to it are closed."""
        socket = Path(urlsplit(self.redis_url).path)
        hidden = socket.with_name("hidden")
        client = redis.asyncio.Redis.from_url(self.redis_url)
        try:
            await client.ping()
            socket.rename(hidden)
            for kind in ("pubsub", "normal"):
                await client.client_kill_filter(_type=kind)
            yield
        finally:
            hidden.rename(socket)
            await client.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    """Three cores, two notifiers, an embedded Redis that the supervisor starts again."""
    async with started("--cores", str(REPLICAS), "--notifiers", "2") as running:
        stores = await asyncio.to_thread(ask, running.data, {"command": "stores"})
        assert stores["fallback2db"] == 1
        database = await asyncpg.connect(stores["db_url"])
        try:
            await database.execute(RECORD_WRITERS)
            yield House(running, database, stores["db_url"], stores["redis_url"])
        finally:
            await database.close()


@dataclass
class Publication:
    """What a publisher remembers."""

    phone: Phone
    presentity: str
    name: str
    number: int = 0
    etag: str = ""
    old: list[str] = field(default_factory=list)

    @property
    def id(self) -> bytes:
        """The key of its row."""
        named = parse_entity_tag(self.etag)
        assert named is not None
        return named[0]

    @property
    def note(self) -> str:
        """What a watcher reads of it."""
        return f"{self.name} {self.number}"


@dataclass
class Watching:
    """What a watcher remembers."""

    phone: Phone
    dialog: Dialog

    @property
    def id(self) -> bytes:
        """The key of its row."""
        named = parse_to_tag(self.dialog.to_tag)
        assert named is not None
        return named[1]

    def notifies(self) -> list[Message]:
        """The NOTIFYs of the dialog as they came."""
        call_id = self.dialog.call_id
        return [m for m in self.phone.received if not m.is_response and m["call-id"] == call_id]

    def cseq(self) -> int:
        """That of the last NOTIFY; 0 before there is one."""
        return max((cseq_of(notify) for notify in self.notifies()), default=0)


Item: TypeAlias = Publication | Watching


def cseq_of(notify: Message) -> int:
    return int(notify["cseq"].split()[0])


class Scene:
    """Phones over UDP and TCP, each watching every presentity; two of them also publish each of them."""

    def __init__(self, house: House, phones: list[Phone]) -> None:
        self.house = house
        self._random = random.Random(4711)
        domain = f"{token('d')}.example"
        uris = [f"sip:u{number}@{domain}" for number in range(PRESENTITIES)]
        self.publications = [Publication(phone, uri, phone.transport) for phone in phones[:2] for uri in uris]
        self.watching = [Watching(phone, phone.dialog(uri)) for phone in phones for uri in uris]

    @property
    def items(self) -> list[Item]:
        """The publications and the dialogs."""
        return [*self.publications, *self.watching]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """In an order of its own each time."""
        return self._random.sample(items, len(items))

    async def create(self) -> None:
        """Publish and subscribe, all mixed."""
        await self.each(self.items)
        await self.told()

    async def each(self, items: Sequence[Item], expires: int = 600) -> None:
        """A request for each publication (a change) and each dialog (a refresh), all at once; every one gets 200."""
        await asyncio.gather(*(self.one(item, expires) for item in self.shuffled(items)))

    async def one(self, item: Item, expires: int = 600) -> None:
        """A request for a publication or a dialog; it gets 200."""
        await (self._publish(item, expires) if isinstance(item, Publication) else self._subscribe(item, expires))

    async def _publish(self, publication: Publication, expires: int) -> None:
        publication.number += 1
        phone = publication.phone
        body = pidf(publication.presentity, note=publication.note) if expires else b""
        request = phone.publish(publication.presentity, body=body, expires=expires, if_match=publication.etag or None)
        response = await phone.request(request)
        assert response.status == 200, response.start
        assert response["expires"] == str(expires)
        assert response["sip-etag"] != publication.etag
        if publication.etag:
            publication.old.append(publication.etag)
        publication.etag = response["sip-etag"]

    async def _subscribe(self, watching: Watching, expires: int) -> None:
        phone, dialog, before = watching.phone, watching.dialog, watching.cseq()
        response = await phone.request(phone.subscribe(dialog, expires=expires))
        assert response.status == 200, response.start
        assert response["expires"] == str(expires)
        assert dialog.to_tag in ("", response.to_tag)
        learn(dialog, response)

        async def told() -> bool:
            return watching.cseq() > before

        await until(told, "a NOTIFY follows the 200")

    def alive(self, presentity: str) -> list[str]:
        """The notes that watchers of the presentity have to see."""
        return sorted(p.note for p in self.publications if p.presentity == presentity and p.etag)

    async def told(self) -> None:
        """Return when every watcher has the final state, in NOTIFYs whose CSeq only ever rose."""

        async def lagging() -> list[str]:
            return [
                f"{w.phone.transport} {w.dialog.presentity}: {sorted(notes(w.notifies()[-1].body))}"
                for w in self.watching
                if not w.notifies() or sorted(notes(w.notifies()[-1].body)) != self.alive(w.dialog.presentity)
            ]

        async def all_told() -> bool:
            return not await lagging()

        try:
            await until(all_told, "every watcher has the final state", deadline=40)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *await lagging()])) from None
        for watching in self.watching:
            came = [(cseq_of(notify), notify.branch) for notify in watching.notifies()]
            numbers = [cseq for cseq, _ in came]
            assert numbers == sorted(numbers)
            assert len(set(came)) == len(set(numbers)), "a CSeq was used for two NOTIFYs"
            assert {notify.state for notify in watching.notifies()} == {"active"}

    async def old_tags_are_dead(self) -> None:
        """Every tag that was replaced gets 412, whoever is asked, and changes nothing."""
        for publication in self.shuffled(self.publications):
            for tag in publication.old[-2:]:
                request = publication.phone.publish(publication.presentity, if_match=tag, body=pidf(note="late"))
                assert (await publication.phone.request(request)).status == 412
        await self.whole()

    async def whole(self) -> None:
        """What is stored is what was acknowledged, and a new watcher sees it."""
        running = self.house.running
        for uri in sorted({publication.presentity for publication in self.publications}):
            stored = await publications(running, uri)
            assert sorted(item["etag"] for item in stored) == sorted(
                p.etag for p in self.publications if p.presentity == uri and p.etag
            )
            kept = {item["call_id"] for item in await subscriptions(running, uri)}
            assert kept == {w.dialog.call_id for w in self.watching if w.dialog.presentity == uri}
        async with opened(running) as phone:
            for uri in sorted({publication.presentity for publication in self.publications}):
                assert sorted(notes((await fetched(phone, uri)).body)) == self.alive(uri)

    async def end(self) -> None:
        """Unsubscribe all and remove all: the dialogs end with a last NOTIFY, and their refresh gets 481."""
        leaving, self.watching = self.watching, []
        await self.each(leaving, expires=0)
        for watching in leaving:
            last = watching.notifies()[-1]
            assert last["subscription-state"] == "terminated;reason=timeout"
            phone = watching.phone
            assert (await phone.request(phone.subscribe(watching.dialog))).status == 481
        await self.each(self.publications, expires=0)
        for publication in self.publications:
            assert await publications(self.house.running, publication.presentity) == []
            request = publication.phone.publish(publication.presentity, if_match=publication.etag)
            assert (await publication.phone.request(request)).status == 412

    async def is_cached(self) -> bool:
        """Whether both tables have every dialog and every presentity."""
        link = RedisLink(self.house.redis_url, timeout=20.0)
        pres, subs = HashTable(link, "pres", 9), HashTable(link, "subs", 9)
        dialogs = [(presentity_hash(w.dialog.presentity), dialog_field(w.id)) for w in self.watching]
        uris = sorted({publication.presentity for publication in self.publications})
        manifests = [(presentity_hash(uri), manifest_field(uri, "presence")) for uri in uris]
        try:
            return None not in await subs.get(dialogs) and None not in await pres.get(manifests)
        except RedisAwayError:
            return False
        finally:
            await link.close()

    async def meet_other_replicas(self) -> None:
        """Refresh and change, in a new order each time, until each was written by two replicas.

        Every replica that runs now has then taken part.
        """
        writers: dict[bytes, list[str]] = {}

        async def met() -> bool:
            nonlocal writers
            replicas = await self.house.cores()
            writers = await self.house.writers(item.id for item in self.items)
            alone = [item for item in self.items if len(set(writers[item.id])) < 2]
            idle = replicas - {name for names in writers.values() for name in names}
            await self.each(alone or (self.items if idle else []))
            return not alone and not idle

        await until(met, "the edge spreads requests over the replicas", deadline=60)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(house: House) -> AsyncIterator[Scene]:
    """Five presentities, ten publications, twenty dialogs, made."""
    await house.running.all_ready()
    async with contextlib.AsyncExitStack() as stack:
        phones = [
            await stack.enter_async_context(opened(house.running, transport=transport))
            for transport in ("udp", "tcp", "udp", "tcp")
        ]
        made = Scene(house, phones)
        await made.create()
        yield made


Cache = Literal["warm", "cold", "cold each time", "gone", "hung", "killed each time"]


@contextlib.asynccontextmanager
async def cache_that_is(house: House, scene: Scene, state: Cache) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Brings the cache into that state; what is yielded is called before each step."""

    async def leave() -> None:
        return

    async def kill() -> None:
        os.kill(await house.redis_pid(), signal.SIGKILL)

    match state:
        case "warm":

            async def warm() -> bool:
                """What is decided while Redis is away, as after the test before, is cached with the next change."""
                if await scene.is_cached():
                    return True
                await scene.each(scene.items)
                await scene.told()
                return False

            await until(warm, "the cache has everything")
            yield leave
        case "cold":
            await house.flush()
            yield leave
        case "cold each time":
            yield house.flush
        case "gone":
            async with house.redis_that_nobody_reaches():
                yield leave
        case "hung":
            # It takes connections and never answers; then it dies with all it has.
            pid = await house.redis_pid()
            os.kill(pid, signal.SIGSTOP)
            try:
                yield leave
            finally:
                os.kill(pid, signal.SIGKILL)
        case "killed each time":
            yield kill


@pytest.mark.parametrize("state", ["warm", "cold", "cold each time", "gone", "hung", "killed each time"])
async def test_fallback2db_1_what_one_replica_made_goes_on_through_others(
    house: House, scene: Scene, state: Cache
) -> None:
    async with cache_that_is(house, scene, state) as before_a_step:
        await before_a_step()
        await scene.each(scene.watching)
        await scene.told()
        await before_a_step()
        await scene.each(scene.publications)
        await scene.told()
        await scene.meet_other_replicas()
        await scene.told()
        await before_a_step()
        await scene.old_tags_are_dead()
        await before_a_step()
        await scene.end()
    await filled_again(house)


async def filled_again(house: House) -> None:
    """Return when Redis runs and what is made now comes into the tables."""
    async with opened(house.running) as phone:
        fresh = Scene(house, [phone])

        async def used() -> bool:
            await fresh.each(fresh.items)
            return await fresh.is_cached()

        await until(used, "the cache is used again", deadline=60)


@pytest.mark.parametrize("state", ["warm", "gone"])
async def test_fallback2db_1_a_replica_that_is_killed_in_the_middle_takes_nothing_with_it(
    house: House, scene: Scene, state: Cache
) -> None:
    async with cache_that_is(house, scene, state):
        await scene.meet_other_replicas()
        before = await house.writers(item.id for item in scene.items)
        locked = await asyncpg.connect(house.database_url)
        try:
            await locked.execute("BEGIN")
            await locked.execute("SELECT FROM presentity_state FOR UPDATE")
            everything = asyncio.gather(*(scene.one(item) for item in scene.shuffled(scene.items)))
            victim = await house.core_that_waits()
            os.kill(await house.pid_of(victim), signal.SIGKILL)
        finally:
            await locked.close()
        await everything
        await scene.told()
        for _ in range(2):
            await scene.each(scene.items)
        await scene.told()
        after = await house.writers(item.id for item in scene.items)
        orphans = [item for item in scene.items if victim in before[item.id]]
        assert orphans
        assert all(after[item.id][-1] != victim for item in orphans)
        await scene.old_tags_are_dead()
        await scene.end()
    await house.running.all_ready()
