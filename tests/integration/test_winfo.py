"""Watcher information in Postgres: who is told what, once, in order and without a gap (RFC 3857, RFC 3858)."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from notifier.adapters.postgres import NotifierStore
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict, settle
from tests.integration.calls import ALICE, in_dialog, publish, subscribe
from tests.integration.replicas import (
    NOTHING,
    POLICY,
    Connection,
    Core,
    DialogStore,
    Sql,
    answer_notifies,
    everything,
    let_dialogs_expire,
    let_marks_run_out,
)
from tests.integration.winfo_readers import Readers
from tests.watcherinfo import WatcherTable
from vedette.rpc.contract import Outcome, SubscribeCall
from vedette.store.database import Database

CAROL = "sip:carol@example.com"
WINFO = "presence.winfo"


BOTH = pytest.mark.parametrize("dialogs_in", ["postgres", "redis"], indirect=True)
"""Holds wherever the dialogs are (`fallback2db`)."""


@pytest.fixture
def readers(notifier: DialogStore) -> Readers:
    """Nobody yet."""
    return Readers(notifier)


def watch(name: str = "bob", **fields: Any) -> SubscribeCall:
    """Somebody subscribes to Alice's presence."""
    return subscribe(from_uri=f"sip:{name}@example.net", **fields)


def watch_watchers(**fields: Any) -> SubscribeCall:
    """Alice subscribes to who watches her."""
    return subscribe(event=WINFO, from_uri=ALICE, **fields)


def who(name: str, status: str = "active", event: str = "subscribe") -> tuple[str, str, str]:
    return (f"sip:{name}@example.net", status, event)


async def states(sql: Sql) -> dict[str, tuple[int, int]]:
    """Version and watchers of Alice's rows, by event."""
    rows = await sql.fetch("SELECT * FROM presentity_state WHERE presentity_uri = $1", ALICE)
    return {row["event"]: (row["version"], row["watchers"]) for row in rows}


def delivered(claims: list[Claim]) -> list[tuple[Outcome, Settlement]]:
    """Their watchers answered 200."""
    return [(Outcome(c.presentity_hash, c.dialog_id, c.cseq, 200), settle(200, None)) for c in claims]


async def one_document(readers: Readers, **how: Any) -> Any:
    """The only document that is owed."""
    (document,) = (await readers.deliver(**how)).values()
    return document


async def reading(core: Core, readers: Readers) -> SubscribeCall:
    """Alice reads, and has what there is; the call that made her dialog."""
    call = watch_watchers()
    answer = await core.subscribe_one(call)
    assert (answer.status, answer.expires) == (202, 3600)
    while await readers.deliver():
        pass
    return call


# what is told


@BOTH
async def test_win_06_and_win_17_the_first_document_is_full_and_has_number_0(core: Core, readers: Readers) -> None:
    await core.subscribe(watch("bob"), watch("carol"))
    await answer_notifies(readers.store, 200)
    await core.subscribe_one(watch_watchers())
    document = await one_document(readers)
    assert (document.version, document.state, document.resource, document.package) == (0, "full", ALICE, "presence")
    assert sorted(document.what) == [who("bob"), who("carol")]


@BOTH
async def test_win_07_a_new_watcher_is_told_of_in_a_partial_document(core: Core, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    await reading(core, readers)
    await core.subscribe_one(watch("carol"))
    document = await one_document(readers)
    assert (document.version, document.state, document.what) == (1, "partial", [who("carol")])
    (table,) = readers.tables.values()
    assert table.what == [who("bob"), who("carol")]


@BOTH
async def test_win_07_a_refresh_of_the_reader_gets_a_full_document(core: Core, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    call = watch_watchers()
    first = await core.subscribe_one(call)
    await readers.deliver()
    await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2))
    document = await one_document(readers)
    assert (document.version, document.state, document.what) == (1, "full", [who("bob")])


@BOTH
async def test_win_07_a_refresh_of_a_watcher_tells_nobody(core: Core, sql: Sql, readers: Readers) -> None:
    call = watch("bob")
    first = await core.subscribe_one(call)
    await reading(core, readers)
    await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2))
    assert await sql.fetchval("SELECT count(*) FROM change_event WHERE event = $1", WINFO) == 0
    assert await readers.deliver() == {}


@BOTH
async def test_win_09_a_fetch_is_never_shown(core: Core, sql: Sql, readers: Readers) -> None:
    await reading(core, readers)
    await core.subscribe_one(watch("bob", expires=0))
    assert await sql.fetchval("SELECT count(*) FROM change_event WHERE event = $1", WINFO) == 0
    await core.subscribe_one(watch("carol"))
    assert (await one_document(readers)).what == [who("carol")]


@BOTH
async def test_a_change_of_state_tells_nobody_who_watches_the_watchers(core: Core, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    await reading(core, readers)
    await core.publish_one(publish(ALICE))
    assert await readers.deliver() == {}


@BOTH
async def test_win_17_a_watcher_that_leaves_is_shown_once_as_terminated_in_a_full_document(
    core: Core, readers: Readers
) -> None:
    call = watch("bob")
    first = await core.subscribe_one(call)
    await core.subscribe_one(watch("carol"))
    await reading(core, readers)
    await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2, expires=0))
    document = await one_document(readers)
    assert (document.version, document.state) == (1, "full")
    assert sorted(document.what) == [who("bob", "terminated", "timeout"), who("carol")]
    await core.subscribe_one(watch("dave"))
    document = await one_document(readers)
    assert (document.state, document.what) == ("partial", [who("dave")])


@BOTH
async def test_win_08_a_watcher_whose_time_is_over_is_told_of(core: Core, sql: Sql, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    await reading(core, readers)
    await sql.execute("UPDATE active_watchers SET expires = now() WHERE event = 'presence'")
    await readers.store.expire(100)
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("bob", "terminated", "timeout")])
    assert (await states(sql))["presence"][1] == 0


@BOTH
async def test_win_08_a_watcher_that_is_replaced_is_told_of_together_with_the_new_one(
    core: Core, readers: Readers
) -> None:
    contact = '<sip:bob@192.0.2.7:5060>;+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    await core.subscribe_one(watch("bob", contacts=[contact]))
    await reading(core, readers)
    await core.subscribe_one(watch("bob", contacts=[contact]))
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("bob", "terminated", "giveup"), who("bob")])
    assert len({watcher.id for watcher in document.watchers}) == 2


@BOTH
@pytest.mark.parametrize(
    ("status", "event"), [(481, "deactivated"), (404, "noresource"), (0, "timeout"), (-1, "giveup")]
)
async def test_not_19_and_win_08_a_watcher_whose_notify_failed_is_told_of(
    core: Core, readers: Readers, status: int, event: str
) -> None:
    await reading(core, readers)
    bob = await core.subscribe_one(watch("bob"))
    await readers.deliver()
    await core.publish_one(publish(ALICE))
    assert await answer_notifies(readers.store, status) == {bob.dialog_id}
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("bob", "terminated", event)])


async def test_win_08_one_that_was_pending_is_shown_as_approved(
    core: Core, sql: Connection, readers: Readers
) -> None:
    """There are no rules yet: what they will decide is done here as they will do it."""
    bob = await core.subscribe_one(watch("bob"))
    await sql.execute("UPDATE active_watchers SET status = 2")
    await sql.execute("UPDATE delivery SET status = 2")
    await core.subscribe_one(watch_watchers())
    assert (await one_document(readers)).what == [who("bob", "pending")]
    await sql.execute(
        "UPDATE active_watchers SET status = 1, status_event = 'approved', changed = nextval('presentity_version') "
        "WHERE dialog_id = $1",
        bob.dialog_id,
    )
    await sql.execute(
        "INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump) "
        "SELECT presentity_hash, presentity_uri, event || '.winfo', now(), true FROM active_watchers "
        "WHERE dialog_id = $1",
        bob.dialog_id,
    )
    document = await one_document(readers)
    assert (document.state, document.what) == ("partial", [who("bob", "active", "approved")])


@pytest.mark.parametrize("before", ["active", "pending", "waiting"])
@pytest.mark.parametrize("event", ["rejected", "deactivated", "probation", "giveup", "noresource"])
async def test_win_08_whatever_ends_a_subscription_is_shown(
    core: Core, sql: Connection, readers: Readers, before: str, event: str
) -> None:
    """There are no rules yet: what they will decide is done here as they will do it."""
    await core.subscribe_one(watch("bob"))
    status = {"active": 1, "pending": 2, "waiting": 4}[before]
    await sql.execute("UPDATE active_watchers SET status = $1", status)
    await core.subscribe_one(watch_watchers())
    assert (await one_document(readers)).what == [who("bob", before)]
    await sql.execute(
        "UPDATE active_watchers SET status = 3, reason = $1, status_event = $1, ended = now(), "
        "changed = nextval('presentity_version') WHERE event = 'presence'",
        event,
    )
    await sql.execute(
        "INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump) "
        "SELECT presentity_hash, presentity_uri, event || '.winfo', now(), true FROM active_watchers "
        "WHERE event = 'presence'"
    )
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("bob", "terminated", event)])


@BOTH
async def test_what_had_ended_before_is_not_told_to_a_new_reader(core: Core, readers: Readers) -> None:
    call = watch("bob")
    first = await core.subscribe_one(call)
    await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2, expires=0))
    await core.subscribe_one(watch_watchers())
    documents = list((await readers.deliver()).values())
    assert [document.what for document in documents] == [[]]


@BOTH
async def test_a_fetch_of_watcher_information_gets_one_full_document(core: Core, sql: Sql, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    answer = await core.subscribe_one(watch_watchers(expires=0))
    assert (answer.status, answer.expires) == (202, 0)
    document = await one_document(readers)
    assert (document.version, document.state, document.what) == (0, "full", [who("bob")])
    await core.subscribe_one(watch("carol"))
    assert await sql.fetchval("SELECT count(*) FROM change_event WHERE event = $1", WINFO) == 0


@BOTH
async def test_the_last_document_of_a_reader_is_full(core: Core, readers: Readers) -> None:
    await core.subscribe_one(watch("bob"))
    call = watch_watchers()
    first = await core.subscribe_one(call)
    await readers.deliver()
    await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2, expires=0))
    document = await one_document(readers)
    assert (document.version, document.state, document.what) == (1, "full", [who("bob")])
    await core.subscribe_one(watch("carol"))
    assert await readers.deliver() == {}


@BOTH
async def test_watchers_of_another_presentity_are_not_shown(core: Core, readers: Readers) -> None:
    await reading(core, readers)
    await core.subscribe_one(watch("bob", request_uri=CAROL))
    assert await readers.deliver() == {}


# what becomes of documents that do not arrive


@BOTH
@pytest.mark.parametrize(
    "how", [{"status": 500}, {"status": 503, "retry_after": 1}, {"verdict": Verdict.UNSENT}], ids=str
)
async def test_win_07_after_one_that_did_not_arrive_the_next_is_full_and_lacks_nothing(
    core: Core, sql: Sql, readers: Readers, how: dict[str, Any]
) -> None:
    call = watch("bob")
    bob = await core.subscribe_one(call)
    await core.subscribe_one(watch("carol"))
    await reading(core, readers)
    await core.subscribe_one(in_dialog(call, bob.to_tag, cseq=2, expires=0))
    assert await readers.deliver(**how) == {}
    await sql.execute("UPDATE delivery SET not_before = NULL")
    await sql.execute("UPDATE change_event SET due = now()")
    await core.subscribe_one(watch("dave"))
    claims = await readers.store.claim(500, 1000)
    (reader,) = [claim for claim in claims if claim.event == WINFO]
    assert reader.document_version == (1 if how.get("verdict") else 2), "only what was surely not sent has no number"
    readers.tables[reader.dialog_id].version = reader.document_version - 1
    document = readers.tables[reader.dialog_id].take((await readers.composed([reader]))[reader.dialog_id])
    assert document.state == "full"
    assert sorted(document.what) == [who("bob", "terminated", "timeout"), who("carol"), who("dave")]


async def test_win_07_after_one_that_was_refused_the_next_is_full_however_late_it_comes(
    core: Core, sql: Connection, readers: Readers
) -> None:
    call = watch("bob")
    bob = await core.subscribe_one(call)
    await reading(core, readers)
    await core.subscribe_one(in_dialog(call, bob.to_tag, cseq=2, expires=0))
    await readers.deliver(500)
    await sql.execute("UPDATE active_watchers SET ended = now() - interval '1 h' WHERE ended IS NOT NULL")
    assert await readers.store.sweep(100.0, 100) == 1
    await core.subscribe_one(watch("carol"))
    (table,) = readers.tables.values()
    table.version += 1
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("carol")])


@BOTH
async def test_a_notify_whose_mark_is_lost_is_followed_by_a_full_document(
    core: Core, sql: Sql, readers: Readers
) -> None:
    await core.subscribe_one(watch("bob"))
    await reading(core, readers)
    await core.subscribe_one(watch("carol"))
    lost = [claim for claim in await readers.store.claim(500, 1000) if claim.event == WINFO]
    assert [claim.whole for claim in lost] == [False]
    await let_marks_run_out(sql)
    assert await readers.store.clear_marks([], 100, 0.0) == 2
    claims = {claim.event: claim for claim in await readers.store.claim(500, 1000)}
    assert claims[WINFO].whole
    assert claims[WINFO].document_version == 2


@BOTH
async def test_a_refresh_while_a_document_is_on_its_way_shows_nobody_twice_as_lost(
    core: Core, readers: Readers
) -> None:
    call, reader = watch("bob"), watch_watchers()
    bob = await core.subscribe_one(call)
    alice = await core.subscribe_one(reader)
    await readers.deliver()
    await core.subscribe_one(in_dialog(call, bob.to_tag, cseq=2, expires=0))
    on_its_way = await readers.store.claim(500, 1000)
    bodies = await readers.composed([claim for claim in on_its_way if claim.event == WINFO])
    await core.subscribe_one(in_dialog(reader, alice.to_tag, cseq=2))
    table = readers.tables[alice.dialog_id]
    assert table.take(bodies[alice.dialog_id]).what == [who("bob", "terminated", "timeout")]
    await readers.store.apply(delivered(on_its_way))
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [])


@BOTH
async def test_a_watcher_that_leaves_after_the_claim_is_lost_in_the_next_document_only(
    core: Core, readers: Readers
) -> None:
    call = watch("bob")
    bob = await core.subscribe_one(call)
    await core.subscribe_one(watch_watchers())
    claims = [claim for claim in await readers.store.claim(500, 1000) if claim.event == WINFO]
    await core.subscribe_one(in_dialog(call, bob.to_tag, cseq=2, expires=0))
    (body,) = (await readers.composed(claims)).values()
    table = WatcherTable()
    assert table.take(body).what == []
    await readers.store.apply(delivered(claims))
    claims = [claim for claim in await readers.store.claim(500, 1000) if claim.event == WINFO]
    (body,) = (await readers.composed(claims)).values()
    assert table.take(body).what == [who("bob", "terminated", "timeout")]


@BOTH
async def test_a_fan_out_in_several_steps_tells_every_reader_once(core: Core, readers: Readers) -> None:
    for _ in range(5):
        await core.subscribe_one(watch_watchers())
    while await readers.deliver():
        pass
    await core.subscribe_one(watch("bob", event="presence"))
    told: list[bytes] = []
    while documents := await readers.deliver(dialogs=2):
        told += documents
    assert len(told) == len(set(told)) == 5


# locks


async def test_who_subscribes_to_presence_does_not_wait_for_those_who_watch_the_watchers(
    core: Core, sql: Connection, readers: Readers
) -> None:
    await reading(core, readers)
    async with sql.transaction():
        await sql.execute("SELECT FROM presentity_state WHERE event = $1 FOR UPDATE", WINFO)
        answer = await core.subscribe_one(watch("bob"))
        assert answer.status == 200
    assert (await one_document(readers)).what == [who("bob")]


@pytest.mark.parametrize("what", ["subscribe", "claim"])
async def test_who_shows_the_watchers_waits_for_who_changes_them(
    core: Core, sql: Connection, readers: Readers, database_url: str, what: str
) -> None:
    await reading(core, readers)
    await core.subscribe_one(watch("bob"))
    await sql.execute("DELETE FROM change_event WHERE event = 'presence'")
    other: Connection = await asyncpg.connect(database_url)
    try:
        async with sql.transaction():
            await sql.execute("SELECT FROM presentity_state WHERE event = 'presence' FOR UPDATE")
            waiting = asyncio.create_task(
                core.subscribe_one(watch_watchers()) if what == "subscribe" else readers.deliver()
            )
            while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                assert not waiting.done()
        await waiting
    finally:
        await other.close()


async def test_readers_and_watchers_that_come_and_go_at_once(
    database: Database, database_url: str, sql: Connection
) -> None:
    """In whatever order they come, at the end every reader knows who is there, and nobody was lost twice."""
    cores = [Core(database), Core(database)]
    readers = Readers(NotifierStore(database, "notifier", patience=40))
    chance = random.Random(7)
    done = asyncio.Event()

    async def come_and_go(number: int) -> None:
        core = cores[number % 2]
        for step in range(6):
            call = watch(f"w{number}-{step}")
            answer = await core.subscribe_one(call)
            if chance.random() < 0.6:
                await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2, expires=0))

    async def read(number: int) -> None:
        call = watch_watchers()
        answer = await cores[number % 2].subscribe_one(call)
        for cseq in (2, 3):
            await cores[number % 2].subscribe_one(in_dialog(call, answer.to_tag, cseq=cseq))

    async def deliver() -> None:
        while not done.is_set() or await sql.fetchval("SELECT EXISTS (SELECT FROM change_event)"):
            await readers.deliver(200)

    delivering = asyncio.create_task(deliver())
    await asyncio.gather(*map(come_and_go, range(6)), *map(read, range(4)))
    done.set()
    await delivering
    there = {
        row["watcher_username"]
        for row in await sql.fetch("SELECT * FROM active_watchers WHERE ended IS NULL AND event = 'presence'")
    }
    assert there
    assert len(readers.tables) == 4
    for table in readers.tables.values():
        assert table.what == sorted(who(name) for name in there)
        assert len({watcher.id for watcher in table.lost}) == len(table.lost)


async def test_several_notifiers_tell_every_reader_in_order(database: Database, sql: Connection) -> None:
    core = Core(database)
    tables: dict[bytes, WatcherTable] = {}
    notifiers = [Readers(NotifierStore(database, f"notifier-{number}", patience=40)) for number in range(3)]
    for reader in notifiers:
        reader.tables = tables
    for _ in range(3):
        await core.subscribe_one(watch_watchers())
    done = asyncio.Event()

    async def deliver(reader: Readers) -> None:
        while not done.is_set() or await database.fetch("SELECT FROM change_event LIMIT 1"):
            await reader.deliver()

    delivering = [asyncio.create_task(deliver(reader)) for reader in notifiers]
    for number in range(20):
        call = watch(f"w{number}")
        answer = await core.subscribe_one(call)
        if number % 2:
            await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2, expires=0))
    done.set()
    await asyncio.gather(*delivering)
    while await sql.fetchval("SELECT EXISTS (SELECT FROM change_event)"):
        await notifiers[0].deliver()
    for table in tables.values():
        assert table.what == sorted(who(f"w{number}") for number in range(0, 20, 2))


# what is left


async def test_a_reader_keeps_the_row_of_the_event_it_watches(core: Core, sql: Connection, readers: Readers) -> None:
    await reading(core, readers)
    before = await states(sql)
    assert set(before) == {"presence", WINFO}
    assert (before["presence"][0] > 0, before["presence"][1], before[WINFO][1]) == (True, 0, 1)
    await core.subscribe(in_dialog(watch("bob"), "10.00000000." + "0" * 32, cseq=2))
    call = watch("bob")
    bob = await core.subscribe_one(call)
    await core.subscribe_one(in_dialog(call, bob.to_tag, cseq=2, expires=0))
    await readers.deliver()
    await sql.execute("UPDATE active_watchers SET ended = now() - interval '1 h' WHERE ended IS NOT NULL")
    assert await readers.store.sweep(100.0, 100) == 1
    assert set(await states(sql)) == {"presence", WINFO}


async def test_after_the_last_reader_nothing_is_left(core: Core, sql: Connection, readers: Readers) -> None:
    call = watch_watchers()
    answer = await core.subscribe_one(call)
    await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2, expires=0))
    await readers.deliver()
    await sql.execute("UPDATE active_watchers SET ended = now() - interval '1 h'")
    assert await readers.store.sweep(100.0, 100) == 1
    assert await everything(sql) == NOTHING


async def test_the_last_reader_is_swept_together_with_the_row_it_kept(
    core: Core, sql: Connection, readers: Readers, database_url: str
) -> None:
    await core.subscribe_one(watch_watchers(expires=0))
    await readers.deliver()
    await sql.execute("UPDATE active_watchers SET ended = now() - interval '1 h'")
    other: Connection = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM presentity_state WHERE event = 'presence' FOR UPDATE")
            assert await readers.store.sweep(100.0, 100) == 0
    finally:
        await other.close()
    assert await readers.store.sweep(100.0, 100) == 1
    assert await everything(sql) == NOTHING


@BOTH
async def test_a_refused_reader_leaves_nothing(core: Core, sql: Sql) -> None:
    answer = await core.subscribe_one(in_dialog(watch_watchers(), "10.00000000." + "0" * 32, cseq=2))
    assert answer.status == 481
    assert await everything(sql) == NOTHING


@BOTH
async def test_a_copy_of_a_readers_request_gets_its_answer(core: Core, sql: Sql) -> None:
    call = watch_watchers()
    first, second = await core.subscribe_one(call), await core.subscribe_one(call)
    assert first.reply == second.reply
    assert (await states(sql))[WINFO][1] == 1


# those that wait for a decision


async def pending(core: Core, sql: Connection, readers: Readers) -> tuple[SubscribeCall, Any]:
    """Bob asks and nobody has decided; Alice reads."""
    call = watch("bob")
    answer = await core.subscribe_one(call)
    await sql.execute("UPDATE active_watchers SET status = 2")
    await sql.execute("UPDATE delivery SET status = 2")
    await reading(core, readers)
    return call, answer


async def let_wait(core: Core, sql: Connection, readers: Readers) -> tuple[SubscribeCall, Any]:
    """The same, and his time is over."""
    call, answer = await pending(core, sql, readers)
    await sql.execute("UPDATE active_watchers SET expires = now() WHERE event = 'presence'")
    await readers.store.expire(100)
    return call, answer


async def bobs(sql: Connection) -> list[tuple[int, str, bool]]:
    rows = await sql.fetch("SELECT * FROM active_watchers WHERE event = 'presence' ORDER BY created")
    return [(row["status"], row["reason"], row["ended"] is not None) for row in rows]


async def test_win_08_a_pending_one_whose_time_is_over_waits(core: Core, sql: Connection, readers: Readers) -> None:
    call, answer = await let_wait(core, sql, readers)
    assert await bobs(sql) == [(4, "timeout", False)]
    assert (await states(sql))["presence"][1] == 1
    document = await one_document(readers)
    assert (document.state, document.what) == ("partial", [who("bob", "waiting", "timeout")])
    assert await sql.fetchval("SELECT count(*) FROM delivery WHERE event = 'presence'") == 0, (
        "its last NOTIFY is sent"
    )
    assert (await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2))).status == 481


async def test_win_08_a_pending_one_that_leaves_waits_too(core: Core, sql: Connection, readers: Readers) -> None:
    call, answer = await pending(core, sql, readers)
    left = await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2, expires=0))
    assert (left.status, left.expires) == (200, 0)
    assert await bobs(sql) == [(4, "timeout", False)]
    assert (await one_document(readers)).what == [who("bob", "waiting", "timeout")]


async def test_the_last_notify_of_one_that_waits_ends_nothing(core: Core, sql: Connection, readers: Readers) -> None:
    await let_wait(core, sql, readers)
    await answer_notifies(readers.store, 481)
    assert await bobs(sql) == [(4, "timeout", False)]


async def test_win_18_a_pending_one_hears_of_no_change_but_of_its_own_requests(
    core: Core, sql: Connection, readers: Readers
) -> None:
    call, answer = await pending(core, sql, readers)
    carol = await core.subscribe_one(watch("carol"))
    await answer_notifies(readers.store, 200)
    await core.publish_one(publish(ALICE))
    assert await answer_notifies(readers.store, 200) == {carol.dialog_id}
    await core.publish_one(publish(ALICE))
    assert [claim.dialog_id for claim in await readers.store.claim(100, 1)] == [carol.dialog_id]
    assert await sql.fetchval("SELECT count(*) FROM change_event") == 0, "none is left for the pending one"
    await core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2))
    assert await answer_notifies(readers.store, 200) == {answer.dialog_id}


@pytest.mark.parametrize("days", [1, 3])
async def test_win_12_parameter_waiting_subs_daysno_one_that_waits_is_given_up_after_so_many_days(
    core: Core, sql: Connection, database: Database, days: int
) -> None:
    readers = Readers(NotifierStore(database, "notifier", patience=40, waiting_days=days))
    await let_wait(core, sql, readers)
    await readers.deliver()
    left = await sql.fetchval("SELECT expires - now() FROM active_watchers WHERE status = 4")
    assert timedelta(days=days) - timedelta(minutes=1) < left <= timedelta(days=days)
    await sql.execute("UPDATE active_watchers SET created = now() - interval '30 days' WHERE status = 4")
    assert await readers.store.expire(100) == []
    assert await readers.store.sweep(0.0, 100) == 0
    await sql.execute("UPDATE active_watchers SET expires = now() WHERE status = 4")
    await readers.store.expire(100)
    assert await bobs(sql) == [(3, "giveup", True)]
    assert (await states(sql))["presence"][1] == 0
    assert (await one_document(readers)).what == [who("bob", "terminated", "giveup")]
    assert await sql.fetchval("SELECT count(*) FROM change_event") == 0


async def test_parameter_waiting_subs_daysno_0_keeps_none(core: Core, sql: Connection, database: Database) -> None:
    readers = Readers(NotifierStore(database, "notifier", patience=40, waiting_days=0))
    await let_wait(core, sql, readers)
    assert await bobs(sql) == [(3, "timeout", True)]
    assert (await one_document(readers)).what == [who("bob", "terminated", "timeout")]


async def test_win_11_who_subscribes_again_takes_the_place_of_what_waits(
    core: Core, sql: Connection, readers: Readers
) -> None:
    await let_wait(core, sql, readers)
    await readers.deliver()
    await core.subscribe_one(watch("bob"))
    assert [row[0] for row in await bobs(sql)] == [3, 1]
    document = await one_document(readers)
    assert (document.state, document.what) == ("full", [who("bob", "terminated", "giveup"), who("bob")])
    assert len({watcher.id for watcher in document.watchers}) == 2


async def test_sub_25_those_that_wait_count_among_a_watchers_dialogs(
    sql: Connection, database: Database, readers: Readers
) -> None:
    core = Core(database, replace(POLICY, max_subscriptions=1))
    await let_wait(core, sql, readers)
    assert (await core.subscribe_one(watch("bob", request_uri=CAROL))).status == 403
    await let_dialogs_expire(sql, ALICE)
    await readers.store.expire(100)
    assert (await core.subscribe_one(watch("bob", request_uri=CAROL))).status == 200
