"""Plans that were made while the tables were empty, as those of a service are that starts on a new database.

They stay until Postgres counts the rows anew, a minute or more later; by then there may be thousands.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
from msgspec.structs import replace

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.recount import TABLES, Recount
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict
from tests.integration.calls import in_dialog, publish, subscribe
from tests.integration.replicas import Core
from tests.phone import pidf
from tests.servers import Servers
from vedette.rpc.contract import Outcome, SubscribeCall
from vedette.store.database import Database

PHONE = '<sip:bob@192.0.2.7:5060>;+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
ROWS = 2000
"""Presentities with a publication and a watcher that nobody asks for."""
MOST_READ = 200
"""Rows that a batch of one may read in a table, index entries included."""
FANNED_OUT = 1000
"""Watchers of one presentity."""
OFTEN = 10
"""Times that the dialog of a watcher, or its presentity, may be read while a NOTIFY is claimed and settled."""
AT_ONCE = 100
"""Outcomes in a report."""
READ = """
SELECT t.relname, t.seq_tup_read + sum(i.idx_tup_read)::int8 AS read
FROM pg_stat_user_tables AS t JOIN pg_stat_user_indexes AS i USING (relid)
WHERE t.relname IN ('presentity_state', 'presentity', 'active_watchers', 'delivery', 'change_event')
GROUP BY t.relname, t.seq_tup_read
"""
FILL = (
    """
    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version, watchers)
    SELECT n, 'sip:f' || n || '@example.com', 'presence', nextval('presentity_version'), 1
    FROM generate_series(1, $1::int4) AS n
    """,
    """
    INSERT INTO presentity (presentity_hash, publication_id, presentity_uri, username, domain, event, sequence, etag,
        expires, received_time, content_type, body, version, last_key, granted)
    SELECT n, decode(md5('p' || n), 'hex'), 'sip:f' || n || '@example.com', 'f' || n, 'example.com', 'presence', 1,
        md5('p' || n) || '.1', now() + interval '2 hours', now(), 'application/pidf+xml', '\\x20', 1, '\\x20', 7200
    FROM generate_series(1, $1::int4) AS n
    """,
    """
    INSERT INTO active_watchers (presentity_hash, dialog_id, presentity_uri, event, event_id, watcher_username,
        watcher_domain, callid, to_tag, from_tag, to_uri, from_uri, remote_cseq, contact, record_route, local_contact,
        accept, user_agent, sip_instance, expires, status, reason, edge_instance, edge_address, socket_info, revision,
        last_key, granted, created)
    SELECT n, decode(md5('d' || n), 'hex'), 'sip:f' || n || '@example.com', 'presence', '', 'w' || n, 'example.com',
        md5('c' || n), 't', 'f', '', '', 1, '<sip:w' || n || '@192.0.2.1>', '', '', '', '', '',
        now() + interval '2 hours', 1, '', 'edge-1', '', 'udp|192.0.2.1|5060|0', 1, '\\x20', 7200, now()
    FROM generate_series(1, $1::int4) AS n
    """,
    """
    INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq, version,
        sent_version, edge_instance, transport)
    SELECT s.presentity_hash, decode(md5('d' || s.presentity_hash), 'hex'), s.presentity_uri, s.event, 1, 1, 1, 0,
        s.version, 'edge-1', 'udp'
    FROM presentity_state AS s
    WHERE s.presentity_hash BETWEEN 1 AND $1
    """,
)

WATCHED = """
INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq, version,
    sent_version, edge_instance, transport)
SELECT s.presentity_hash, decode(md5('w' || n), 'hex'), s.presentity_uri, s.event, 1, 1, 1, 0, s.version,
    'edge-1', 'udp'
FROM presentity_state AS s, generate_series(1, $1::int4) AS n
WHERE s.presentity_uri = 'sip:celebrity@example.com'
"""
"""Watchers of one presentity, who know its state."""


@dataclass
class OneOfEach:
    """A core and a notifier on one connection each."""

    databases: tuple[Database, Database]
    core: Core
    notifier: NotifierStore
    sql: "asyncpg.Connection[asyncpg.Record]"

    async def read(self) -> dict[str, int]:
        """How many rows and index entries were read of each table so far."""
        for database in self.databases:
            await database.fetch("SELECT pg_stat_force_next_flush()")
        await self.sql.fetch("SELECT pg_stat_force_next_flush()")
        return {row["relname"]: row["read"] for row in await self.sql.fetch(READ)}

    async def read_since(self, before: dict[str, int]) -> dict[str, int]:
        """How many since then."""
        return {table: rows - before[table] for table, rows in (await self.read()).items()}

    async def run(self, name: str) -> dict[str, int]:
        """A new presentity, its watcher, and its whole life; what all of that read, by table."""
        uri = f"sip:{name}@example.com"
        before = await self.read()
        await self.watch(uri)
        call = await self.watch(uri)
        etag = (await self.core.publish_one(publish(uri))).etag
        changed = publish(uri, etag=etag, body=pidf(uri, note="busy"), content_type="application/pidf+xml")
        etag = (await self.core.publish_one(changed)).etag
        etag = (await self.core.publish_one(publish(uri, etag=etag))).etag
        assert (await self.core.publish_one(publish(uri, etag=etag, expires=0))).status == 200
        await self.notify()
        await self.change(call, expires=0)
        return await self.read_since(before)

    async def watch(self, uri: str) -> SubscribeCall:
        """The SUBSCRIBE of a phone that forgets its dialogs: it was told, and has refreshed it."""
        call = subscribe(uri, contacts=[PHONE])
        call = replace(call, to_tag=(await self.core.subscribe_one(call)).to_tag)
        await self.notify()
        await self.change(call, expires=3600)
        return call

    async def change(self, call: SubscribeCall, *, expires: int) -> None:
        """A SUBSCRIBE in that dialog, and its NOTIFY."""
        cseq = 2 if expires else 3
        assert (await self.core.subscribe_one(in_dialog(call, call.to_tag, cseq=cseq, expires=expires))).status == 200
        await self.notify()

    async def fan_out(self) -> list[Claim]:
        """The NOTIFYs of a change of what many watch."""
        assert (await self.core.publish_one(publish("sip:celebrity@example.com"))).status == 200
        claims = await self.notifier.claim(500, 2 * FANNED_OUT)
        assert len(claims) == FANNED_OUT
        return claims

    async def settle(self, claims: Sequence[Claim], verdict: Verdict) -> None:
        """Their outcomes, in several reports."""
        for begun in range(0, len(claims), AT_ONCE):
            reported = [
                (Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200), Settlement(verdict))
                for claim in claims[begun : begun + AT_ONCE]
            ]
            assert await self.notifier.apply(reported) == 0

    async def reads_little(self, before: dict[str, int]) -> None:
        """Nothing was read more often since than each watcher of the many needs."""
        read = await self.read_since(before)
        assert {table: rows for table, rows in read.items() if rows > OFTEN * FANNED_OUT} == {}, read

    async def notify(self) -> None:
        """The one NOTIFY that is owed, answered."""
        (claim,) = await self.notifier.claim(500, 1000)
        outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200)
        await self.notifier.apply([(outcome, Settlement(Verdict.DELIVERED))])


@pytest.fixture
async def one_of_each(servers: Servers) -> AsyncIterator[OneOfEach]:
    """On tables that were never filled."""
    sql = await asyncpg.connect(servers.admin_url)
    await sql.execute("CREATE DATABASE plans TEMPLATE vedette")
    own = await asyncpg.connect(servers.database("plans"))
    core, notifier = (Database(servers.database("plans"), size=1, name="plans") for _ in range(2))
    yield OneOfEach((core, notifier), Core(core), NotifierStore(notifier, "n", patience=40), own)
    await core.close()
    await notifier.close()
    await own.close()
    await sql.execute("DROP DATABASE plans WITH (FORCE)")
    await sql.close()


async def test_plans_made_on_empty_tables_read_no_more_of_full_ones(one_of_each: OneOfEach) -> None:
    await one_of_each.run("first")
    for statement in FILL:
        await one_of_each.sql.execute(statement, ROWS)
    read = await one_of_each.run("second")
    assert {table: rows for table, rows in read.items() if rows > MOST_READ} == {}, read


async def test_plans_made_beside_a_few_rows_are_made_anew_when_tables_have_grown(one_of_each: OneOfEach) -> None:
    recount = Recount(one_of_each.databases[1])
    await one_of_each.run("first")
    for table in TABLES:
        await one_of_each.sql.execute(f"ANALYZE {table}")
    await one_of_each.run("again")
    assert await recount.look() == []
    for statement in FILL:
        await one_of_each.sql.execute(statement, ROWS)
    assert set(await recount.look()) >= {"presentity", "presentity_state", "active_watchers", "delivery"}
    read = await one_of_each.run("second")
    assert {table: rows for table, rows in read.items() if rows > MOST_READ} == {}, read
    assert await recount.look() == []
    # Where it was in vain it is not tried each second.
    await one_of_each.sql.execute("UPDATE pg_class SET relpages = 0 WHERE relname = 'delivery'")
    assert await recount.look() == []


# Of the tables that were counted each presentity has one watcher at most, so that all of a presentity might be looked
# for, once for each watcher.


@pytest.fixture(params=[False, True], ids=["nobody watched", "one watcher each"])
async def one_celebrity(one_of_each: OneOfEach, request: pytest.FixtureRequest) -> OneOfEach:
    """Tables that were counted before one presentity had many watchers."""
    if request.param:
        await one_of_each.run("first")
    for statement in FILL if request.param else FILL[:2]:
        await one_of_each.sql.execute(statement, ROWS)
    for table in TABLES:
        await one_of_each.sql.execute(f"ANALYZE {table}")
    assert (await one_of_each.core.publish_one(publish("sip:celebrity@example.com"))).status == 200
    await one_of_each.sql.execute(WATCHED, FANNED_OUT)
    return one_of_each


# The first kind is what nearly all outcomes are; the other one is settled by the steps for all the rest.
@pytest.mark.parametrize("verdict", [Verdict.DELIVERED, Verdict.UNCHANGED])
async def test_outcomes_look_at_their_own_dialogs(one_celebrity: OneOfEach, verdict: Verdict) -> None:
    before = await one_celebrity.read()
    await one_celebrity.settle(await one_celebrity.fan_out(), verdict)
    await one_celebrity.reads_little(before)


async def test_dialogs_that_move_to_another_edge_are_looked_at_by_themselves(one_celebrity: OneOfEach) -> None:
    before = await one_celebrity.read()
    assert await one_celebrity.notifier.rehome("edge-1", "edge-2", "192.0.2.9:5060", 2 * FANNED_OUT) >= FANNED_OUT
    await one_celebrity.reads_little(before)


async def test_marks_of_the_dead_are_looked_at_by_themselves(one_celebrity: OneOfEach) -> None:
    before = await one_celebrity.read()
    await one_celebrity.fan_out()
    assert await one_celebrity.notifier.clear_marks(["n"], 2 * FANNED_OUT, 0) == FANNED_OUT
    await one_celebrity.reads_little(before)
