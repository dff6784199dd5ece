"""No NOTIFY is made from an entry of a cache that is older than an acknowledged change (ADR 0006).

First one thing at a time, in an order that a seed decides: changes through two cores, claims, reads at once or later,
and writes to the cache that come late, in another order, twice, or never, while Redis is emptied in between. Such a
run is the same each time, so it also shows that readers which leave out one comparison are found out. Then everything
at the same time, with a Redis that is flushed, stopped, restarted and filled with what is stale.
"""

import asyncio
import dataclasses
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

import notifier.adapters.state_reader
from notifier.adapters.postgres import NotifierStore
from notifier.adapters.state_reader import StateReader
from presence_core.adapters.announcer import RedisAnnouncer
from tests.integration.conftest import TABLES
from tests.integration.freshness import (
    GONE,
    LateAnnouncer,
    LateTable,
    Publication,
    Reader,
    Subscription,
    World,
    uris,
)
from tests.integration.own_redis import Raw
from tests.integration.replicas import POLICY, Connection, Core
from tests.phone import token
from tests.servers import Servers
from tests.wait import until_true
from vedette.store.database import Database
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisLink
from vedette_cli.commands.migrate import bring_to_schema
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis

SEEDS = range(12)
STEPS = 500
"""In a schedule; every mutant below is found within the first few seeds."""

MakeReader = Callable[..., StateReader]


class Schedule:
    """One run: what a seed decides, step after step."""

    def __init__(self, seed: int, database: Database, link: RedisLink, raw: Raw, make_reader: MakeReader) -> None:
        self._random = random.Random(seed)
        self._raw = raw
        self._tables = [LateTable(HashTable(link, name, 1)) for name in ("pres", "subs")]
        announcer = LateAnnouncer(*self._tables)
        self.world = World(uris(2), [(Core(database), announcer), (Core(database), announcer)])
        self.readers = [
            Reader(
                self.world,
                NotifierStore(database, f"notifier-{number}", patience=40),
                make_reader(
                    NotifierStore(database, f"notifier-{number}", patience=40), *self._tables, remember=memory
                ),
            )
            for number, memory in enumerate((0, 50))
        ]
        self.wrong: list[str] = []

    async def run(self, steps: int) -> list[str]:
        """What was wrong, up to the first NOTIFY with something wrong."""
        kinds = {
            self._change: 5,
            self._refresh: 1,
            self._remove: 1,
            self._subscribe: 3,
            self._end: 1,
            self._claim: 8,
            self._notify: 8,
            self._deliver: 12,
            self._deliver_all: 2,
            self._lose: 2,
            self._deliver_again: 4,
            self._flush: 1,
        }
        for _ in range(4):
            await self.world.subscribe(self.world.new_subscription(self.world.uris[0]), self._core())
        for kind in self._random.choices([*kinds], [*kinds.values()], k=steps):
            await kind()
            if self.wrong:
                break
        return self.wrong

    def _core(self) -> int:
        return self._random.randrange(2)

    def _publication(self, *, new: bool) -> Publication | None:
        alive = [item for item in self.world.publications if item.sent < GONE]
        if new and len(alive) < 4:
            return self.world.new_publication(self._random.choice(self.world.uris))
        return self._random.choice(alive) if alive else None

    def _subscription(self, *, new: bool) -> Subscription | None:
        alive = [item for item in self.world.subscriptions if item.to_tag]
        if len(alive) < 4 or (new and len(alive) < 6):
            return self.world.new_subscription(self._random.choice(self.world.uris))
        return self._random.choice(alive) if alive else None

    async def _change(self) -> None:
        if publication := self._publication(new=self._random.random() < 0.3):
            await self.world.change(publication, self._core())

    async def _refresh(self) -> None:
        if publication := self._publication(new=False):
            await self.world.refresh(publication, self._core())

    async def _remove(self) -> None:
        if publication := self._publication(new=False):
            await self.world.remove(publication, self._core())

    async def _subscribe(self) -> None:
        if subscription := self._subscription(new=self._random.random() < 0.5):
            await self.world.subscribe(subscription, self._core())

    async def _end(self) -> None:
        if subscription := self._subscription(new=False):
            await self.world.subscribe(subscription, self._core(), expires=0)
            subscription.to_tag = ""

    async def _claim(self) -> None:
        await self._random.choice(self.readers).claim()

    async def _notify(self) -> None:
        if waiting := [reader for reader in self.readers if reader.pocket]:
            self.wrong += await self._random.choice(waiting).notify()

    async def _deliver(self) -> None:
        table = self._random.choice(self._tables)
        if table.on_the_way:
            await table.deliver(self._random.randrange(len(table.on_the_way)))

    async def _deliver_all(self) -> None:
        for table in self._tables:
            while table.on_the_way:
                await table.deliver(0)

    async def _lose(self) -> None:
        table = self._random.choice(self._tables)
        if table.on_the_way:
            table.on_the_way.pop(self._random.randrange(len(table.on_the_way)))

    async def _deliver_again(self) -> None:
        table = self._random.choice(self._tables)
        if table.delivered:
            await table.deliver_again(self._random.randrange(len(table.delivered)))

    async def _flush(self) -> None:
        await self._raw.flushall()


async def empty(sql: Connection, raw: Raw) -> None:
    """As a test begins."""
    await sql.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))
    await raw.flushall()


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_read_that_is_older_than_what_was_acknowledged(
    database: Database, link: RedisLink, raw: Raw, seed: int
) -> None:
    schedule = Schedule(seed, database, link, raw, StateReader)
    assert await schedule.run(STEPS) == []
    assert schedule.world.read > 50
    plain, remembering = [reader.reader.hits for reader in schedule.readers]
    assert min(plain["redis"], plain["postgres"], remembering["redis"], remembering["postgres"]) > 0
    assert plain["memory"] == 0


MUTANTS = {
    "uses a manifest of any version": {
        "entry is not None and entry[0] == version and entry[1]": "entry is not None and entry[1]",
        "manifest is not None and manifest.version == version": "manifest is not None",
    },
    "uses publications of any version": {
        "{(record.publication_id, record.version) for record in records} == set(publications)": (
            "{record.publication_id for record in records} == {id_ for id_, _ in publications}"
        ),
    },
    "uses a dialog of any revision": {
        "entry is not None and entry[0] == claim.revision and entry[1]": "entry is not None and entry[1]",
        "(record.dialog_id, record.revision) == (claim.dialog_id, claim.revision)": (
            "record.dialog_id == claim.dialog_id"
        ),
    },
    "remembers a dialog for ever": {
        "record is not None and record.revision == claim.revision": "record is not None",
    },
}
"""What to leave out of the reader, by what it does then."""


def mutant(replacements: dict[str, str]) -> MakeReader:
    """The reader with these pieces of its source replaced, each of which has to be there once."""
    module = sys.modules[notifier.adapters.state_reader.__name__]
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    changed = ModuleType("a_mutant_of_state_reader")
    exec(compile(source, "a mutant of state_reader.py", "exec"), changed.__dict__)
    made: MakeReader = changed.StateReader
    return made


@pytest.mark.parametrize("what", MUTANTS)
async def test_a_reader_that_leaves_out_a_comparison_is_found_out(
    database: Database, sql: Connection, link: RedisLink, raw: Raw, what: str
) -> None:
    make_reader = mutant(MUTANTS[what])
    for seed in SEEDS:
        schedule = Schedule(seed, database, link, raw, make_reader)
        if await schedule.run(STEPS):
            return
        await empty(sql, raw)
    raise AssertionError(f"nothing was found wrong with a reader that {what}")


async def test_a_mutant_without_a_mutation_is_not_found_out(
    database: Database, sql: Connection, link: RedisLink, raw: Raw
) -> None:
    for seed in SEEDS[:3]:
        assert await Schedule(seed, database, link, raw, mutant({})).run(STEPS) == []
        await empty(sql, raw)


async def new_database(servers: Servers, name: str) -> Database:
    """One that was made by the migrations and not copied, as an operator makes one."""
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    await bring_to_schema(servers.database(name), lambda _: None)
    return Database(servers.database(name), size=1, name="test")


async def test_a_database_that_is_made_anew_meets_nothing_of_the_one_before_it(
    servers: Servers, link: RedisLink
) -> None:
    """Redis was not emptied, and the first states of the new one are read before its entries are written."""
    for _ in range(2):
        database = await new_database(servers, "made_anew")
        policy = dataclasses.replace(POLICY, secret=token().encode())
        tables = [LateTable(HashTable(link, name, 1)) for name in ("pres", "subs")]
        world = World(uris(1), [(Core(database, policy), LateAnnouncer(*tables))])
        store = NotifierStore(database, "notifier", patience=40)
        reader = Reader(world, store, StateReader(store, *tables, remember=0))
        try:
            await world.subscribe(world.new_subscription(world.uris[0]))
            publication = world.new_publication(world.uris[0])
            publication.name += token()
            for _ in range(5):
                await world.change(publication)
                assert await reader.claim() == 1
                assert await reader.notify() == []
                assert reader.reader.hits["redis"] == 0
            for table in tables:
                while table.on_the_way:
                    await table.deliver(0)
        finally:
            await database.close()


# all at once

LEAST = 40
"""Changes that every writer makes; they go on until every fault has happened."""
ROUNDS = 2
PACE = 0.01
"""Seconds between the steps of one client, at most."""


class Turmoil:
    """Writers and readers at work at the same time, through links of their own to one Redis."""

    def __init__(self, database: Database, server: EmbeddedRedis) -> None:
        self._links = [RedisLink(server.url(), timeout=0.5) for _ in range(4)]
        self._announcers = [RedisAnnouncer(link, *_tables(link)) for link in self._links[:2]]
        self.world = World(uris(2), [(Core(database), announcer) for announcer in self._announcers])
        self.readers: list[Reader] = []
        for number, link in enumerate(self._links[2:]):
            store = NotifierStore(database, f"notifier-{number}", patience=40)
            self.readers.append(Reader(self.world, store, StateReader(store, *_tables(link), remember=50 * number)))
        self.stopping = False
        self.wrong: list[str] = []

    @property
    def hits(self) -> int:
        """What was found in Redis so far."""
        return sum(reader.reader.hits["redis"] for reader in self.readers)

    async def publisher(self, number: int) -> None:
        """Changes, refreshes and removes publications, one at a time."""
        chance = random.Random(number)
        publication = self.world.new_publication(self.world.uris[number % 2])
        done = 0
        while done < LEAST or not self.stopping:
            core = chance.randrange(2)
            if not publication.etag or chance.random() < 0.7:
                await self.world.change(publication, core)
            elif chance.random() < 0.5:
                await self.world.refresh(publication, core)
            else:
                await self.world.remove(publication, core)
                publication = self.world.new_publication(publication.uri)
            done += 1
            await asyncio.sleep(chance.random() * PACE)

    async def watcher(self, number: int) -> None:
        """Moves from one Contact to the next."""
        chance = random.Random(100 + number)
        subscription = self.world.new_subscription(self.world.uris[number % 2])
        done = 0
        while done < LEAST or not self.stopping:
            await self.world.subscribe(subscription, chance.randrange(2))
            done += 1
            await asyncio.sleep(chance.random() * 4 * PACE)

    async def notifier(self, reader: Reader) -> None:
        """Claims and reads until all is told after the writers have ended; dawdles in between."""
        chance = random.Random(200)
        while True:
            last = self.stopping and not self._writing
            claimed = await reader.claim()
            await asyncio.sleep(chance.random() * PACE)
            self.wrong += await reader.notify()
            assert self.wrong == []
            if last and not claimed and not reader.pocket:
                return

    async def run(self, sabotage: "Callable[[Turmoil], Awaitable[None]]") -> None:
        """Until the sabotage is over, every writer has done its part, and everything was told."""
        telling = [asyncio.create_task(announcer.tell()) for announcer in self._announcers]
        try:
            async with asyncio.TaskGroup() as group:
                writers = [group.create_task(self.publisher(number)) for number in range(4)]
                writers += [group.create_task(self.watcher(number)) for number in range(4)]
                self._writers = writers
                for reader in self.readers:
                    group.create_task(self.notifier(reader))
                await sabotage(self)
                self.stopping = True
        finally:
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)
            for link in self._links:
                await link.close()

    @property
    def _writing(self) -> bool:
        return not all(writer.done() for writer in self._writers)

    async def goes_on(self) -> None:
        """Return when there were more changes and they were read, from wherever."""
        changes, read = self.world.changes + 20, self.world.read + 20
        await until_true(lambda: self.world.changes > changes and self.world.read > read, "the turmoil goes on")

    async def uses_redis(self) -> None:
        """Return when the cache has been of use again."""
        hits = self.hits + 5
        await until_true(lambda: self.hits > hits, "something is found in Redis again")


def _tables(link: RedisLink) -> tuple[HashTable, HashTable]:
    return HashTable(link, "pres", 1), HashTable(link, "subs", 1)


async def test_nothing_old_is_read_while_everything_happens_at_once(
    database: Database, sql: Connection, server: EmbeddedRedis, raw: Raw
) -> None:
    """Redis is flushed, filled with what it once had, stops for a while, and starts again empty."""

    async def put_back(turmoil: Turmoil) -> None:
        """As a replica might that comes back from an earlier time, and without asking for versions."""
        once = {key: await raw.hgetall(key) for key in await raw.keys()}
        await turmoil.goes_on()
        await raw.flushall()
        for key, values in once.items():
            await raw.hset(key, mapping=values)
        await turmoil.goes_on()

    async def hang(turmoil: Turmoil) -> None:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            await turmoil.goes_on()
        finally:
            server.process.send_signal(signal.SIGCONT)

    async def restart(turmoil: Turmoil) -> None:
        await server.stop()
        await turmoil.goes_on()
        await server.start()

    async def flush(turmoil: Turmoil) -> None:
        await raw.flushall()
        await turmoil.goes_on()

    async def sabotage(turmoil: Turmoil) -> None:
        for _ in range(ROUNDS):
            for fault in (flush, put_back, hang, put_back, restart, flush):
                await turmoil.uses_redis()
                await fault(turmoil)

    turmoil = Turmoil(database, server)
    await turmoil.run(sabotage)
    assert turmoil.wrong == []
    lagging = await sql.fetch(
        "SELECT * FROM delivery AS d JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event) "
        "WHERE d.sent_version < s.version OR d.outstanding_cseq IS NOT NULL"
    )
    assert lagging == []
    assert all(min(reader.reader.hits["redis"], reader.reader.hits["postgres"]) > 0 for reader in turmoil.readers)
