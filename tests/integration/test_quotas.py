"""How much a presentity and a watcher may have: 403 beyond it, and what is there stays usable (SEC: limits)."""

import asyncio
from dataclasses import replace

import asyncpg
import msgspec
import pytest

from tests.integration.calls import ALICE, in_dialog, publish, subscribe
from tests.integration.replicas import (
    POLICY,
    Core,
    DialogStore,
    MakeCore,
    Sql,
    answer_notifies,
    everything,
    let_dialogs_expire,
    let_publications_expire,
)
from tests.wait import until
from vedette.store.database import Database


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


@pytest.fixture
def strict(make_core: MakeCore) -> Core:
    """A replica with small limits."""
    return make_core(replace(POLICY, max_publications=2, max_watchers=3, max_subscriptions=4))


async def test_sec_05_max_publications_of_a_presentity(strict: Core, sql: Sql) -> None:
    tags = [(await strict.publish_one(publish())).etag for _ in range(2)]
    before = await everything(sql)
    refused = await strict.publish_one(publish())
    assert (refused.verdict, refused.status, refused.reply.reason) == ("too_many", 403, "Too many publications")
    assert await everything(sql) == before
    assert (await strict.publish_one(publish("sip:other@example.com"))).status == 200
    refreshed = await strict.publish_one(publish(etag=tags[0]))
    assert refreshed.status == 200
    assert (await strict.publish_one(publish(etag=refreshed.etag, expires=0))).status == 200
    assert (await strict.publish_one(publish())).status == 200


async def test_publications_that_are_over_do_not_count(strict: Core, sql: Sql) -> None:
    for _ in range(2):
        await strict.publish_one(publish())
    await let_publications_expire(sql, ALICE)
    assert (await strict.publish_one(publish())).status == 200


async def test_sec_05_max_watchers_of_a_presentity(strict: Core, sql: Sql) -> None:
    calls = [subscribe(from_uri=f"sip:w{n}@example.net") for n in range(3)]
    answers = [await strict.subscribe_one(call) for call in calls]
    before = await everything(sql)
    refused = await strict.subscribe_one(subscribe(from_uri="sip:w3@example.net"))
    assert (refused.verdict, refused.status) == ("too_many_watchers", 403)
    assert await everything(sql) == before
    assert (await strict.subscribe_one(subscribe(expires=0))).status == 200, "a fetch leaves nothing"
    assert (await strict.subscribe_one(in_dialog(calls[0], answers[0].to_tag, cseq=2))).status == 200
    assert (await strict.subscribe_one(in_dialog(calls[0], answers[0].to_tag, cseq=3, expires=0))).status == 200
    assert (await strict.subscribe_one(subscribe(from_uri="sip:w3@example.net"))).status == 200


async def test_sec_05_max_subscriptions_of_a_watcher(strict: Core, sql: Sql) -> None:
    calls = [subscribe(f"sip:lamp{n}@example.com") for n in range(4)]
    answers = [await strict.subscribe_one(call) for call in calls]
    before = await everything(sql)
    refused = await strict.subscribe_one(subscribe("sip:lamp4@example.com"))
    assert (refused.verdict, refused.status) == ("too_many_subscriptions", 403)
    assert await everything(sql) == before, "not even the row of the presentity that was locked"
    other = subscribe("sip:lamp4@example.com", from_uri="sip:carol@example.net")
    assert (await strict.subscribe_one(other)).status == 200
    await strict.subscribe_one(in_dialog(calls[0], answers[0].to_tag, cseq=2, expires=0))
    assert (await strict.subscribe_one(subscribe("sip:lamp4@example.com"))).status == 200


async def test_watchers_that_come_in_one_batch_count_for_each_other(strict: Core, sql: Sql) -> None:
    calls = [subscribe(from_uri=f"sip:w{n}@example.net") for n in range(8)]
    others = [subscribe("sip:other@example.com", from_uri=f"sip:w{n}@example.net") for n in range(2)]
    answers = await strict.subscribe(calls[0], subscribe(expires=0), *calls[1:], *others)
    assert [answer.status for answer in answers] == [200] * 4 + [403] * 5 + [200] * 2
    assert await sql.fetchval("SELECT watchers FROM presentity_state WHERE presentity_uri = $1", ALICE) == 3
    again = await strict.subscribe(*calls)
    assert [answer.verdict for answer in again] == ["replayed"] * 3 + ["too_many_watchers"] * 5


@pytest.mark.parametrize("dialogs_in", ["postgres"], indirect=True)
async def test_subscriptions_that_a_watcher_makes_in_one_batch_count_for_each_other(strict: Core) -> None:
    """In Redis they do not: a watcher's dialogs are in many buckets, and each bucket is a step of its own."""
    calls = [subscribe(f"sip:lamp{n}@example.com") for n in range(8)]
    other = subscribe("sip:lamp1@example.com", from_uri="sip:carol@example.net")
    answers = await strict.subscribe(*calls, other)
    assert [answer.status for answer in answers] == [200] * 4 + [403] * 4 + [200]


@pytest.mark.parametrize("dialogs_in", ["postgres"], indirect=True)
async def test_sec_05_subscriptions_that_a_watcher_makes_at_the_same_moment_count_for_each_other(
    strict: Core, sql: Sql, database_url: str
) -> None:
    """Each to a presentity of its own, which somebody holds until all of them wait: they have no lock in common."""
    lamps = [f"sip:lamp{n}@example.com" for n in range(8)]
    await strict.subscribe(*(subscribe(lamp, from_uri=f"sip:w{n}@example.net") for n, lamp in enumerate(lamps)))
    holder = await asyncpg.connect(database_url)
    own = Database(database_url, size=len(lamps), name="another core")
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM presentity_state FOR UPDATE")
            another = Core(own, strict.policy)
            calls = [asyncio.create_task(another.subscribe_one(subscribe(lamp))) for lamp in lamps]

            async def all_wait() -> bool:
                waiting = await sql.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND application_name = 'another core'"
                )
                return bool(waiting == len(lamps))

            await until(all_wait, "all of them wait")
        answers = await asyncio.gather(*calls)
    finally:
        await own.close()
        await holder.close()
    assert sorted(answer.status for answer in answers) == [200] * 4 + [403] * 4


async def test_a_phone_that_starts_again_at_the_limit_gets_the_place_that_it_had(strict: Core, sql: Sql) -> None:
    contacts = ['<sip:bob@192.0.2.7:5060>;+sip.instance="<urn:uuid:1>"']
    lamps = [subscribe(f"sip:lamp{n}@example.com") for n in range(3)]
    await strict.subscribe(*lamps, *(subscribe(from_uri=f"sip:w{n}@example.net") for n in range(2)))
    assert (await strict.subscribe_one(msgspec.structs.replace(subscribe(), contacts=contacts))).status == 200
    again = await strict.subscribe_one(msgspec.structs.replace(subscribe(), contacts=contacts))
    assert (again.verdict, again.status) == ("created", 200)
    assert await sql.fetchval("SELECT watchers FROM presentity_state WHERE presentity_uri = $1", ALICE) == 3
    other = msgspec.structs.replace(subscribe(), contacts=['<sip:bob@192.0.2.8>;+sip.instance="<urn:uuid:2>"'])
    assert (await strict.subscribe_one(other)).verdict == "too_many_watchers"


async def test_copies_of_what_was_taken_get_their_answer_at_the_limit(strict: Core) -> None:
    calls = [subscribe(from_uri=f"sip:w{n}@example.net") for n in range(3)]
    answers = [await strict.subscribe_one(call) for call in calls]
    again = [await strict.subscribe_one(call) for call in calls]
    assert [answer.verdict for answer in again] == ["replayed"] * 3
    assert [answer.reply for answer in again] == [answer.reply for answer in answers]


async def test_the_count_of_watchers_is_that_of_the_dialogs_that_live(
    core: Core, notifier: DialogStore, sql: Sql
) -> None:
    calls = [subscribe(from_uri=f"sip:w{n}@example.net") for n in range(5)]
    answers = await core.subscribe(*calls)
    await core.subscribe_one(subscribe(expires=0))
    await core.subscribe_one(in_dialog(calls[0], answers[0].to_tag, cseq=2, expires=0))
    await core.subscribe_one(in_dialog(calls[1], answers[1].to_tag, cseq=2))
    assert await sql.fetchval("SELECT watchers FROM presentity_state") == 4
    await answer_notifies(notifier, 481, only=answers[2].dialog_id)
    assert await sql.fetchval("SELECT watchers FROM presentity_state") == 3
    await let_dialogs_expire(sql, ALICE)
    await notifier.expire(100)
    assert await sql.fetchval("SELECT watchers FROM presentity_state") == 0
    assert await sql.fetchval("SELECT count(*) FROM active_watchers WHERE ended IS NULL") == 0
