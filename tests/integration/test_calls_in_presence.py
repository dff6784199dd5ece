"""`mix_dialog_presence`: whoever watches the presence of somebody is told of his calls and of their end (CMP-15)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import asyncpg
import pytest

from notifier.domain.outcome_policy import settle
from notifier.domain.views import ViewKey, Views
from tests.dialog_info import TYPE, call, dialogs
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import (
    NOTHING,
    POLICY,
    Core,
    DialogStore,
    MakeCore,
    MakeNotifier,
    Sql,
    answer_notifies,
    everything,
    let_publications_expire,
)
from tests.phone import pidf
from tests.wait import until
from vedette.rpc.contract import Outcome, PublishCall
from vedette.store.database import Database

BOTH = pytest.mark.parametrize("dialogs_in", ["postgres", "redis"], indirect=True)
"""Holds wherever the dialogs are (`fallback2db`)."""
MIXING = replace(POLICY, mix_dialog_presence=True)
PIDF_TYPE = "application/pidf+xml"


@pytest.fixture
def core(make_core: MakeCore) -> Core:
    """One replica of presence-core that mixes."""
    return make_core(MIXING)


@pytest.fixture
async def other(database_url: str, make_core: MakeCore) -> AsyncIterator[Core]:
    """Another one, with connections of its own."""
    database = Database(database_url, size=4, name="other")
    yield make_core(MIXING, database)
    await database.close()


@pytest.fixture
def notifier(make_notifier: MakeNotifier) -> DialogStore:
    """What a notifier that mixes does with dialogs."""
    return make_notifier("notifier", mixes_calls=True)


def calls(body: bytes = b"", uri: str = ALICE, **fields: Any) -> PublishCall:
    """A PUBLISH of calls."""
    return publish(uri, event="dialog", body=body, content_type=TYPE, **fields)


def in_call(state: str, uri: str = ALICE, **fields: Any) -> PublishCall:
    return calls(dialogs(call(state, "a")), uri, **fields)


class Watchers:
    """Those of presence, as far as a notifier knows them: what each one saw last."""

    def __init__(self, store: DialogStore) -> None:
        self.store = store
        self.views = Views(1000, mix_dialog_presence=True)
        """Remembered, as a notifier does: a version that is used twice would show."""
        self.seen: dict[bytes, list[str]] = {}

    async def deliver(self) -> int:
        """Claim, read and compose as a notifier does, until nothing is owed; all phones answer 200. How many."""
        count = 0
        while claims := await self.store.claim(100, 100):
            for claim in claims:
                key = ViewKey(claim.presentity_uri, claim.event, claim.version, PIDF_TYPE)
                assert claim.event == "presence"
                view = self.views.get(key)
                if view is None:
                    mine = (claim.presentity_hash, claim.presentity_uri, claim.event)
                    calls_ = (claim.presentity_hash, claim.presentity_uri, "dialog")
                    states = await self.store.states([mine, calls_])
                    found = [states[k].publications if k in states else [] for k in (mine, calls_)]
                    view = self.views.compose(key, *found)
                self.seen.setdefault(claim.dialog_id, []).append(shown(view.document.body))
            outcomes = [(Outcome(c.presentity_hash, c.dialog_id, c.cseq, 200), settle(200, None)) for c in claims]
            await self.store.apply(outcomes)
            count += len(claims)
        return count


def shown(body: bytes) -> str:
    """What a document says of calls."""
    notes = [note for note in ("Calling", "On the phone") if f"<note>{note}</note>".encode() in body]
    assert (b"on-the-phone" in body) == bool(notes)
    return notes[0] if notes else "free"


@pytest.fixture
def watchers(notifier: DialogStore) -> Watchers:
    """Nobody yet."""
    return Watchers(notifier)


async def versions(sql: Sql) -> dict[str, int]:
    """Of Alice's rows, by event."""
    rows = await sql.fetch("SELECT event, version FROM presentity_state WHERE presentity_uri = $1", ALICE)
    return {row["event"]: row["version"] for row in rows}


async def events(sql: Sql) -> list[str]:
    """What is told, in order."""
    return [row["event"] for row in await sql.fetch("SELECT event FROM change_event ORDER BY event")]


@BOTH
async def test_cmp_15_a_watcher_of_presence_is_told_of_each_change_of_calls(core: Core, watchers: Watchers) -> None:
    watcher = (await core.subscribe_one(subscribe())).dialog_id
    await watchers.deliver()
    tag = None
    for state in ("early", "confirmed", "terminated"):
        answer = await core.publish_one(in_call(state, etag=tag))
        assert answer.watched
        tag = answer.etag
        assert await watchers.deliver() == 1
    assert watchers.seen[watcher] == ["free", "Calling", "On the phone", "free"]


@BOTH
@pytest.mark.parametrize("how", ["removed", "expired"])
async def test_cmp_15_a_call_that_is_not_published_any_more_is_over(
    core: Core, watchers: Watchers, sql: Sql, how: str
) -> None:
    tag = (await core.publish_one(in_call("confirmed"))).etag
    watcher = (await core.subscribe_one(subscribe())).dialog_id
    await watchers.deliver()
    if how == "removed":
        await core.publish_one(calls(etag=tag, expires=0))
    else:
        await let_publications_expire(sql, ALICE)
        assert [(ended.kind, ended.event) for ended in await watchers.store.expire(10)] == [("publication", "dialog")]
    assert await watchers.deliver() == 1
    assert watchers.seen[watcher] == ["On the phone", "free"]


@BOTH
async def test_cmp_15_a_refresh_and_a_refused_publish_of_calls_tell_nobody(
    core: Core, watchers: Watchers, sql: Sql
) -> None:
    tag = (await core.publish_one(in_call("confirmed"))).etag
    await core.subscribe_one(subscribe())
    await watchers.deliver()
    before = await versions(sql)
    assert (await core.publish_one(calls(etag=tag))).verdict == "refreshed"
    assert (await core.publish_one(in_call("early", etag=f"{'ab' * 16}.1"))).status == 412
    assert (await events(sql), await versions(sql)) == ([], before)


async def test_cmp_15_without_watchers_nothing_is_told_and_no_row_of_presence_is_left(core: Core, sql: Sql) -> None:
    tag = (await core.publish_one(in_call("confirmed"))).etag
    assert (await versions(sql)).keys() == {"dialog"}
    assert (await core.publish_one(in_call("terminated", etag=tag))).status == 200
    await core.publish_one(in_call("early", "sip:nobody@example.com", etag=f"{'ab' * 16}.1"))
    assert (await versions(sql)).keys() == {"dialog"}
    assert await events(sql) == []
    assert await sql.fetchval("SELECT count(*) FROM presentity_state") == 1


@BOTH
async def test_cmp_15_an_expiry_without_watchers_leaves_no_row_of_presence(
    core: Core, notifier: DialogStore, sql: Sql
) -> None:
    await core.publish_one(in_call("confirmed"))
    await let_publications_expire(sql, ALICE)
    assert len(await notifier.expire(10)) == 1
    assert await answer_notifies(notifier, 200) == set()
    await sql.execute("UPDATE presentity SET ended = ended - interval '1 day'")
    while await notifier.sweep(100, 10):
        pass
    assert await everything(sql) == NOTHING


async def test_cmp_15_calls_raise_the_version_of_a_presence_that_nobody_watches(core: Core, sql: Sql) -> None:
    """A notifier remembers documents by their version: whoever comes later is not to get one from before the call."""
    await core.publish_one(publish())
    before = await versions(sql)
    tag = (await core.publish_one(in_call("confirmed"))).etag
    during = await versions(sql)
    assert during["presence"] > before["presence"]
    await core.publish_one(calls(etag=tag, expires=0))
    assert (await versions(sql))["presence"] > during["presence"]


@BOTH
@pytest.mark.parametrize("presence_changes", [True, False])
async def test_cmp_15_calls_and_presence_of_one_batch_are_both_shown(
    core: Core, watchers: Watchers, sql: Sql, *, presence_changes: bool
) -> None:
    tag = (await core.publish_one(publish())).etag
    watcher = (await core.subscribe_one(subscribe())).dialog_id
    await watchers.deliver()
    body = pidf(ALICE, note="new") if presence_changes else b""
    answers = await core.publish(in_call("confirmed"), publish(etag=tag, body=body))
    assert [answer.status for answer in answers] == [200, 200]
    await watchers.deliver()
    assert watchers.seen[watcher][-1] == "On the phone"
    newest = await sql.fetchval("SELECT max(version) FROM presentity WHERE event = 'presence'")
    assert (await versions(sql))["presence"] >= newest


@BOTH
async def test_cmp_15_other_events_and_shared_lines_are_not_mixed(core: Core, watchers: Watchers, sql: Sql) -> None:
    await core.subscribe_one(subscribe())
    await watchers.deliver()
    before = (await versions(sql))["presence"]
    line = publish(event="dialog;sla", body=dialogs(call("confirmed", "a")), content_type=TYPE)
    assert (await core.publish_one(line)).status == 200
    assert (await versions(sql))["presence"] == before
    assert "presence" not in await events(sql)


@BOTH
async def test_parameter_mix_dialog_presence_0_calls_change_no_presence(
    make_core: MakeCore, make_notifier: MakeNotifier, sql: Sql
) -> None:
    core, notifier = make_core(POLICY), make_notifier("notifier")
    await core.publish_one(publish())
    await core.subscribe_one(subscribe())
    await answer_notifies(notifier, 200)
    before = (await versions(sql))["presence"]
    await core.publish_one(in_call("confirmed"))
    await let_publications_expire(sql, ALICE)
    await sql.execute("UPDATE presentity SET expires = expires + interval '1 h' WHERE event = 'presence'")
    assert len(await notifier.expire(10)) == 1
    assert (await versions(sql))["presence"] == before
    assert "presence" not in await events(sql)


# races


class InTransaction:
    """A store's calls in a transaction that somebody else ends."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows."""
        return await self._connection.fetch(query, *arguments)


@contextlib.asynccontextmanager
async def in_transaction(database_url: str) -> AsyncIterator[Core]:
    """A core that mixes, whose calls are committed at the end, and hold their locks until then."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            yield Core(cast("Database", InTransaction(connection)), MIXING)
    finally:
        await connection.close()


async def waits_for_a_lock(sql: Sql) -> bool:
    """Whether some call does; nothing else uses this database."""
    return bool(
        await sql.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


async def told_to_all(sql: Sql) -> list[str]:
    """The events whose watchers are all told."""
    rows = await sql.fetch("SELECT event FROM change_event WHERE dialog_id IS NULL")
    return [row["event"] for row in rows]


@pytest.mark.parametrize("row", [True, False], ids=["row there", "no row yet"])
async def test_cmp_15_a_watcher_that_comes_while_a_call_is_stored_sees_it(
    core: Core, watchers: Watchers, database_url: str, sql: Sql, *, row: bool
) -> None:
    """Its first NOTIFY is claimed after the call is there, or the call is told to it."""
    if row:
        await core.publish_one(publish())
    async with in_transaction(database_url) as held:
        assert (await held.publish_one(in_call("confirmed"))).status == 200
        coming = asyncio.create_task(core.subscribe_one(subscribe()))
        await until(lambda: waits_for_a_lock(sql), "the SUBSCRIBE waits")
    watcher = (await coming).dialog_id
    await watchers.deliver()
    assert watchers.seen[watcher][-1] == "On the phone"


@pytest.mark.parametrize("row", [True, False], ids=["row there", "no row yet"])
async def test_cmp_15_a_call_that_comes_while_a_watcher_is_stored_is_told_to_it(
    core: Core, watchers: Watchers, database_url: str, sql: Sql, *, row: bool
) -> None:
    if row:
        await core.publish_one(publish())
    async with in_transaction(database_url) as held:
        watcher = (await held.subscribe_one(subscribe())).dialog_id
        changing = asyncio.create_task(core.publish_one(in_call("confirmed")))
        await until(lambda: waits_for_a_lock(sql), "the PUBLISH waits")
    assert (await changing).watched
    assert await told_to_all(sql) == ["presence"]
    await watchers.deliver()
    assert watchers.seen[watcher][-1] == "On the phone"


async def test_cmp_15_a_call_that_expires_while_the_first_watcher_is_stored_is_told_to_it(
    core: Core, watchers: Watchers, database_url: str, sql: Sql
) -> None:
    await core.publish_one(in_call("confirmed"))
    await let_publications_expire(sql, ALICE)
    async with in_transaction(database_url) as held:
        watcher = (await held.subscribe_one(subscribe())).dialog_id
        expiring = asyncio.create_task(watchers.store.expire(10))
        await until(lambda: waits_for_a_lock(sql), "the expiry waits")
    assert len(await expiring) == 1
    assert await told_to_all(sql) == ["presence"]
    await watchers.deliver()
    assert watchers.seen[watcher][-1] == "free"


async def test_cmp_15_an_expiry_waits_for_no_presence_that_is_busy_and_comes_back(
    core: Core, watchers: Watchers, database_url: str, sql: Sql
) -> None:
    await core.publish(publish(expires=7200), in_call("confirmed"))
    await sql.execute("UPDATE presentity SET expires = clock_timestamp() WHERE event = 'dialog'")
    async with in_transaction(database_url) as held:
        watcher = (await held.subscribe_one(subscribe())).dialog_id
        assert await watchers.store.expire(10) == []
    assert len(await watchers.store.expire(10)) == 1
    assert await told_to_all(sql) == ["presence"]
    await watchers.deliver()
    assert watchers.seen[watcher][-1] == "free"


@BOTH
async def test_cmp_15_calls_watchers_expiries_and_claims_at_once_end_with_the_last_state(
    core: Core, other: Core, watchers: Watchers, sql: Sql
) -> None:
    dice = random.Random(15)
    for number in range(25):
        uris = [f"sip:user{number}-{place}@example.com" for place in range(3)]
        tags: dict[str, str] = {}
        came: dict[str, list[bytes]] = {uri: [] for uri in uris}

        async def talk(replica: Core, tags: dict[str, str] = tags, uris: list[str] = uris) -> None:
            for state in ("early", "confirmed", "terminated", "confirmed"):
                # A call that is over does not come back, so each is another one.
                batch = [
                    calls(dialogs(call(state, f"{place}-{state}")), uri, etag=tags.get(uri))
                    for place, uri in enumerate(uris)
                ]
                for uri, answer in zip(uris, await replica.publish(*batch), strict=True):
                    assert answer.status == 200
                    tags[uri] = answer.etag

        async def come(replica: Core, uris: list[str] = uris, came: dict[str, list[bytes]] = came) -> None:
            for uri in dice.sample(uris, len(uris)):
                came[uri].append((await replica.subscribe_one(subscribe(uri))).dialog_id)
                await replica.publish_one(publish(uri, expires=dice.choice([3600, 7200])))

        async def expire() -> None:
            for _ in range(5):
                await watchers.store.expire(50)
                await watchers.deliver()

        await asyncio.gather(talk(core), come(other), come(core), expire(), watchers.deliver())
        await watchers.deliver()
        assert {watchers.seen[one][-1] for found in came.values() for one in found} == {"On the phone"}
        rows = await sql.fetch("SELECT 1 FROM change_event")
        assert rows == []
