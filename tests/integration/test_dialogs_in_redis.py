"""`fallback2db=0`: the copy of the dialogs in Postgres, what is lost with Redis, and that no CSeq is used twice."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.redis_dialogs import RedisDialogStore
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict
from presence_core.domain.subscribe import SubscribeCommand, plan_subscribe
from tests.integration.calls import ALICE, BOB, in_dialog, publish, subscribe
from tests.integration.dialogs_in_redis import DialogsInRedis
from tests.integration.replicas import POLICY, Core, DialogStore, MakeNotifier, Sql
from tests.integration.winfo_readers import Readers
from tests.servers import Servers
from tests.watcherinfo import SeenDocument
from vedette.identity import presentity_hash
from vedette.rpc.contract import Outcome, Reply
from vedette.store.database import Database, PoisonedError, StoreUnavailableError
from vedette.store.dialog_tables import scripts
from vedette.store.dialog_tables.keeper import keep_in_postgres
from vedette.store.dialog_tables.rows import pack, read_delivery_row
from vedette.store.dialog_tables.scripts import CSEQ_MARGIN

CAROL = "sip:carol@example.com"


@pytest.fixture
def dialogs_in() -> str:
    return "redis"


@pytest.fixture
def redis(in_redis: DialogsInRedis | None) -> DialogsInRedis:
    """The dialogs."""
    assert in_redis is not None
    return in_redis


@pytest.fixture
async def postgres(database_url: str, redis: DialogsInRedis) -> AsyncIterator[asyncpg.Connection]:
    """What Postgres has, not more."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def lose_everything(redis: DialogsInRedis) -> None:
    """Redis ends and starts without data; the next call finds that out."""
    await redis.empty()


async def sent(notifier: DialogStore) -> list[Claim]:
    """The NOTIFYs that are owed, all of which arrive."""
    claims = await notifier.claim(100, 100)
    await notifier.apply(
        [(Outcome(c.presentity_hash, c.dialog_id, c.cseq, 200), Settlement(Verdict.DELIVERED)) for c in claims]
    )
    return claims


# the copy


async def test_parameter_db_update_period_postgres_has_the_dialogs_as_of_the_last_flush(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection, notifier: DialogStore
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    assert await postgres.fetchval("SELECT count(*) FROM active_watchers") == 0
    assert await redis.flush() == 1
    row = await postgres.fetchrow("SELECT * FROM active_watchers JOIN delivery USING (presentity_hash, dialog_id)")
    assert row is not None
    assert (row["dialog_id"], row["remote_cseq"], row["local_cseq"]) == (created.dialog_id, 1, 0)
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=60))
    await sent(notifier)
    assert await postgres.fetchval("SELECT remote_cseq FROM active_watchers") == 1
    assert await postgres.fetchval("SELECT local_cseq FROM delivery") == 0
    assert await redis.flush() == 1
    row = await postgres.fetchrow("SELECT *, expires - now() AS left FROM active_watchers")
    assert row is not None
    assert (row["remote_cseq"], row["granted"]) == (2, 60)
    assert 50 < row["left"].total_seconds() <= 60
    assert await postgres.fetchval("SELECT local_cseq FROM delivery") == 1


async def test_a_flush_writes_what_has_changed_and_nothing_else(core: Core, redis: DialogsInRedis) -> None:
    call = subscribe()
    created, *_ = await core.subscribe(call, *(subscribe(f"sip:lamp{n}@example.com") for n in range(9)))
    assert await redis.flush() == 10
    assert await redis.flush() == 0
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))
    assert await redis.flush() == 1


async def test_the_end_of_a_dialog_reaches_postgres_too(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection, notifier: DialogStore
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await sent(notifier)
    await redis.flush()
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=0))
    await sent(notifier)
    await redis.flush()
    assert await postgres.fetchval("SELECT count(*) FROM active_watchers WHERE ended IS NULL") == 0
    assert await postgres.fetchval("SELECT count(*) FROM delivery") == 0
    assert await postgres.fetchval("SELECT watchers FROM presentity_state") == 0


async def test_more_dialogs_than_one_step_takes_are_written_and_loaded(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection
) -> None:
    calls = [subscribe(f"sip:lamp{number % 40}@example.com") for number in range(1300)]
    for start in range(0, len(calls), 100):
        await core.subscribe(*calls[start : start + 100])
    assert await redis.flush() == 1300
    assert await postgres.fetchval("SELECT count(*) FROM active_watchers") == 1300
    await lose_everything(redis)
    assert await redis.keeper.load() == 1300
    assert await redis.keeper.load() == 0


async def test_two_processes_that_flush_at_once_write_every_dialog(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection, servers: Servers, database: Database
) -> None:
    other = DialogsInRedis(servers.redis.url().replace("db=0", "db=3"), database)
    await other.open()
    try:
        await core.subscribe(*(subscribe(f"sip:lamp{n}@example.com") for n in range(100)))
        assert sum(await asyncio.gather(redis.flush(), other.flush())) == 100
        assert await postgres.fetchval("SELECT count(*) FROM active_watchers") == 100
    finally:
        await other.close()


async def test_without_postgres_subscriptions_go_on_and_are_written_later(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection
) -> None:
    nowhere = Database("postgresql://vedette@127.0.0.1:1/vedette", size=1, name="nowhere")
    other = DialogsInRedis("unix:///nowhere", nowhere)
    other.keeper._tables = redis.tables  # the same tables, another Postgres
    assert (await core.subscribe_one(subscribe())).verdict == "created"
    with pytest.raises(StoreUnavailableError):
        await other.flush()
    assert await redis.flush() == 1
    assert await postgres.fetchval("SELECT count(*) FROM active_watchers") == 1


# what is lost with Redis


async def test_what_redis_has_lost_since_the_last_flush(
    core: Core, redis: DialogsInRedis, notifier: DialogStore, sql: Sql
) -> None:
    """The page of the modes says it (docs/modes.md): what is as of the last flush, and what is gone."""
    kept, refreshed, ended = (subscribe(f"sip:lamp{n}@example.com") for n in range(3))
    answers = await core.subscribe(kept, refreshed, ended)
    await sent(notifier)
    await redis.flush()
    await core.subscribe_one(in_dialog(refreshed, answers[1].to_tag, cseq=2, expires=60))
    await core.subscribe_one(in_dialog(ended, answers[2].to_tag, cseq=2, expires=0))
    lost = subscribe(CAROL)
    created = await core.subscribe_one(lost)
    await sent(notifier)
    await lose_everything(redis)

    # Known as if nothing had happened since: a refresh is taken, also one whose CSeq was used.
    assert (await core.subscribe_one(in_dialog(kept, answers[0].to_tag, cseq=2))).status == 200
    row = await sql.fetchrow("SELECT remote_cseq, granted FROM active_watchers WHERE callid = $1", refreshed.call_id)
    assert tuple(row or ()) == (1, 3600), "its refresh is forgotten"
    assert (await core.subscribe_one(in_dialog(refreshed, answers[1].to_tag, cseq=3))).status == 200
    # A subscription since the last flush is gone.
    assert (await core.subscribe_one(in_dialog(lost, created.to_tag, cseq=2))).status == 481
    # One that was ended since is back. Its watcher, which has forgotten it, answers 481 and so ends it again.
    await core.publish_one(publish(ended.request_uri))
    (claim,) = await claimed_of(notifier, answers[2].dialog_id)
    await notifier.apply(
        [
            (
                Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 481),
                Settlement(Verdict.ENDED, 0, "deactivated"),
            )
        ]
    )
    assert (await core.subscribe_one(in_dialog(ended, answers[2].to_tag, cseq=3))).status == 481


async def claimed_of(notifier: DialogStore, dialog_id: bytes) -> list[Claim]:
    return [claim for claim in await notifier.claim(100, 100) if claim.dialog_id == dialog_id]


async def test_a_change_that_nobody_was_told_of_before_the_loss_is_told_after_it(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    answer = await core.subscribe_one(subscribe())
    await sent(notifier)
    await redis.flush()
    await core.publish_one(publish())
    claimed = await notifier.claim(100, 100)
    assert len(claimed) == 1, "the event is dealt with, and its NOTIFY is on its way"
    await lose_everything(redis)
    await redis.keeper.load()
    (again,) = await sent(notifier)
    assert (again.dialog_id, again.version) == (answer.dialog_id, claimed[0].version)
    assert again.cseq > claimed[0].cseq


async def test_a_publication_is_never_lost(core: Core, redis: DialogsInRedis, sql: Sql) -> None:
    published = await core.publish_one(publish())
    await lose_everything(redis)
    assert (await core.publish_one(publish(etag=published.etag))).status == 200


# CSeq (invariant 3)


@pytest.mark.parametrize("flush", ["before", "between", "never again"])
async def test_not_11_no_cseq_is_used_twice_over_losses_of_redis(
    core: Core, redis: DialogsInRedis, notifier: DialogStore, flush: str
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await redis.flush()
    used = [claim.cseq for claim in await sent(notifier)]
    for cseq in range(2, 6):
        for step in range(5):
            await core.subscribe_one(in_dialog(call, created.to_tag, cseq=cseq * 10 + step))
            used += [claim.cseq for claim in await sent(notifier)]
            if flush == "between" and step == 2:
                await redis.flush()
        if flush == "before":
            await redis.flush()
        await lose_everything(redis)
    assert len(used) == 21
    assert used == sorted(set(used))


async def test_a_late_copy_of_a_subscribe_makes_the_lost_dialog_again_with_other_cseqs(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    used = [claim.cseq for claim in await sent(notifier)]
    await lose_everything(redis)
    copy = await core.subscribe_one(call)
    assert (copy.verdict, copy.to_tag) == ("created", created.to_tag)
    (claim,) = await sent(notifier)
    assert claim.cseq > max(used)


async def test_not_11_a_redis_that_starts_from_what_it_had_saved_uses_no_cseq_again(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    """It may have saved less than it had: the run id of the server tells that it was started again."""
    answer = await core.subscribe_one(subscribe())
    await sent(notifier)
    await redis.flush()
    (before,) = await changed_and_claimed(core, notifier)
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    await redis.raw.hset(key, "run", "another")
    await core.subscribe_one(subscribe(CAROL, from_uri=BOB))
    while not (again := [c for c in await sent(notifier) if c.dialog_id == answer.dialog_id]):
        await redis.flush()  # nobody gets a CSeq that far ahead before Postgres has it
        await redis.tables.look_everywhere()
    assert again[0].cseq > before.cseq + CSEQ_MARGIN - 1


async def reads_the_watchers(core: Core, notifier: DialogStore) -> Readers:
    """Alice reads who watches her, and knows that Bob does."""
    readers = Readers(notifier)
    await core.subscribe_one(subscribe(event="presence.winfo", from_uri=ALICE))
    await core.subscribe_one(subscribe(from_uri=BOB))
    while await readers.deliver():
        pass
    for table in readers.tables.values():
        table.gaps_allowed = True
    return readers


async def test_win_07_a_redis_that_starts_from_what_it_had_saved_shows_readers_all_watchers(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    """They may have seen some that it had not saved."""
    readers = await reads_the_watchers(core, notifier)
    await redis.flush()
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    await redis.raw.hset(key, "run", "another")
    await core.subscribe_one(subscribe(from_uri=CAROL))
    seen: list[SeenDocument] = []
    while not seen:
        await redis.flush()  # nobody gets a CSeq that far ahead before Postgres has it
        await redis.tables.look_everywhere()
        seen += (await readers.deliver()).values()
    assert [(document.state, len(document.watchers)) for document in seen] == [("full", 2)]


async def test_win_07_postgres_takes_the_dialogs_back_and_shows_readers_all_watchers(
    core: Core, redis: DialogsInRedis, notifier: DialogStore, database: Database
) -> None:
    """Of who came last nobody was told before the dialogs were copied."""
    readers = await reads_the_watchers(core, notifier)
    await core.subscribe_one(subscribe(from_uri=CAROL))
    await redis.flush()
    await keep_in_postgres(database)
    readers.store = NotifierStore(database, "another", patience=40)
    (document,) = (await readers.deliver()).values()
    assert (document.state, len(document.watchers)) == ("full", 2)


async def changed_and_claimed(core: Core, notifier: DialogStore) -> list[Claim]:
    await core.publish_one(publish())
    return await notifier.claim(100, 100)


async def test_not_11_a_dialog_gets_no_cseq_that_a_reload_would_use_again(
    core: Core, redis: DialogsInRedis, make_notifier: MakeNotifier
) -> None:
    """CSeqs may run ahead of Postgres by the margin and no further; the dialog waits for the next flush."""
    notifier = make_notifier("notifier")
    answer = await core.subscribe_one(subscribe())
    await sent(notifier)
    await redis.flush()
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    name = answer.dialog_id.hex()
    delivery = read_delivery_row(await redis.raw.hget(f"{key}:delivery", name))
    delivery.local_cseq = delivery.kept_cseq + CSEQ_MARGIN - 1
    await redis.raw.hset(f"{key}:delivery", name, pack(delivery))
    await core.publish_one(publish())
    (last,) = await sent(notifier)
    await core.publish_one(publish())
    assert await sent(notifier) == []
    assert redis.keeper._soon.is_set(), "the flush is asked for at once"
    await lose_everything(redis)
    await redis.keeper.load()
    (after,) = await sent(notifier)
    assert after.cseq > last.cseq


async def test_not_11_a_held_dialog_goes_on_after_the_flush(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    answer = await core.subscribe_one(subscribe())
    await sent(notifier)
    await redis.flush()
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    name = answer.dialog_id.hex()
    delivery = read_delivery_row(await redis.raw.hget(f"{key}:delivery", name))
    delivery.local_cseq = delivery.kept_cseq + CSEQ_MARGIN
    await redis.raw.hset(f"{key}:delivery", name, pack(delivery))
    await core.publish_one(publish())
    assert await sent(notifier) == []
    await redis.flush()
    assert [claim.cseq for claim in await sent(notifier)] == [delivery.local_cseq + 1]


# order


async def test_not_11_a_notifier_that_was_late_brings_no_older_state_after_a_newer_one(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    """It read the version before others sent a newer one; a dialog that owes a NOTIFY anyway waits for that."""
    call = subscribe()
    created = await core.subscribe_one(call)
    (first,) = await sent(notifier)
    await core.publish_one(publish())
    (second,) = await sent(notifier)
    assert second.version > first.version
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))
    bucket = redis.tables.bucket(presentity_hash(ALICE))
    late = pack((f"presence|{ALICE}", first.version, [created.dialog_id.hex()], []))
    found = await redis.tables.run(scripts.MARK, {bucket: ("late", 40, 100, late)})
    assert found[bucket][2] == [], "nothing was marked"
    (third,) = await sent(notifier)
    assert third.version == second.version


async def test_a_change_event_that_a_notifier_took_with_it_is_taken_again(
    core: Core, redis: DialogsInRedis, notifier: DialogStore, postgres: asyncpg.Connection
) -> None:
    await core.subscribe_one(subscribe())
    await sent(notifier)
    await core.publish_one(publish())
    taken = await postgres.fetch("SELECT * FROM claim_changes_v1(10, interval '5 s', '{}', '{}', '{}')")
    assert len(taken) == 1, "and then that notifier dies"
    assert await sent(notifier) == []
    await postgres.execute("UPDATE change_event SET due = clock_timestamp()")
    assert len(await sent(notifier)) == 1
    assert await postgres.fetchval("SELECT count(*) FROM change_event") == 0


class AwayAfterMarks(NotifierStore):
    """Postgres is away as soon as the dialogs are marked."""

    async def forget_changes(self, changes: object) -> None:
        raise StoreUnavailableError("away")


async def test_what_is_marked_is_delivered_though_postgres_is_away_then(
    core: Core, redis: DialogsInRedis, database: Database, notifier: DialogStore, postgres: asyncpg.Connection
) -> None:
    await core.subscribe_one(subscribe())
    await sent(notifier)
    await core.publish_one(publish())
    store = AwayAfterMarks(database, "notifier", patience=40)
    unlucky = RedisDialogStore(store, redis.tables, "notifier", patience=40, keep_soon=redis.keeper.soon)
    assert len(await sent(unlucky)) == 1
    await postgres.execute("UPDATE change_event SET due = clock_timestamp()")
    assert await sent(notifier) == [], "the event comes again, and owes nobody anything"
    assert await postgres.fetchval("SELECT count(*) FROM change_event") == 0


# who has the dialogs


async def test_postgres_takes_the_dialogs_back_and_tells_what_they_owe(
    core: Core, redis: DialogsInRedis, notifier: DialogStore, database: Database, postgres: asyncpg.Connection
) -> None:
    """fallback2db=0, then 1: nothing is lost after the last flush, and no CSeq is used twice."""
    call = subscribe()
    created = await core.subscribe_one(call)
    (before,) = await sent(notifier)
    await core.publish_one(publish())
    await notifier.claim(100, 100)
    await redis.flush()
    await keep_in_postgres(database)
    in_postgres = Core(database)
    assert (await in_postgres.subscribe_one(in_dialog(call, created.to_tag, cseq=2))).status == 200
    (claim,) = await NotifierStore(database, "another", patience=40).claim(100, 100)
    assert claim.dialog_id == created.dialog_id
    assert claim.cseq > before.cseq + 1
    # A process of the old mode that ends late writes nothing over what Postgres knows better.
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=9))
    with pytest.raises(StoreUnavailableError, match="somebody else has the dialogs"):
        await redis.flush()
    assert await postgres.fetchval("SELECT remote_cseq FROM active_watchers") == 2
    await redis.empty()
    with pytest.raises(StoreUnavailableError, match="somebody else has the dialogs"):
        await core.subscribe_one(subscribe())
    # The mode again, and a process that has not noticed.
    with pytest.raises(StoreUnavailableError, match="somebody else has the dialogs"):
        await newer_epoch(redis, core)


async def newer_epoch(redis: DialogsInRedis, core: Core) -> None:
    """A process of the old mode goes on after the tables were filled for a new epoch."""
    epoch = redis.tables.epoch
    await redis.open()
    redis.tables.epoch = epoch
    await core.subscribe_one(subscribe())


async def test_parameter_subs_htable_size_another_size_begins_with_what_postgres_has(
    core: Core, redis: DialogsInRedis, servers: Servers, database: Database
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await core.subscribe(*(subscribe(f"sip:lamp{n}@example.com") for n in range(50)))
    await redis.flush()
    assert await buckets(redis) <= set(range(16))
    smaller = DialogsInRedis(servers.redis.url().replace("db=0", "db=3"), database, size=2)
    try:
        await smaller.open()
        assert await buckets(smaller) == {0, 1, 2, 3}
        other = Core(database, POLICY, smaller.tables)
        assert (await other.subscribe_one(in_dialog(call, created.to_tag, cseq=2))).status == 200
    finally:
        await smaller.close()


async def buckets(redis: DialogsInRedis) -> set[int]:
    """The buckets that Redis has."""
    keys = [key.decode() for key in await redis.raw.keys("vedette:1:dialogs:{*")]
    return {int(key.partition("{")[2].partition("}")[0]) for key in keys}


# Redis away


async def test_without_redis_a_subscribe_is_surely_not_stored(database: Database) -> None:
    nowhere = DialogsInRedis("unix:///nowhere/redis", database)
    core = Core(database, POLICY, nowhere.tables)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await core.subscribe_one(subscribe())
    assert (await core.publish_one(publish())).status == 200
    await nowhere.close()


# tombstones and quotas


async def test_tombstones_are_swept_once_postgres_has_them(
    core: Core, redis: DialogsInRedis, notifier: DialogStore
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=0))
    await sent(notifier)
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    assert await redis.raw.hlen(f"{key}:rows") == 1
    await notifier.sweep(0.0, 100)
    assert await redis.raw.hlen(f"{key}:rows") == 1, "Postgres does not know yet that it has ended"
    await redis.flush()
    await notifier.sweep(0.0, 100)
    assert await redis.raw.hlen(f"{key}:rows") == 0
    left = {name.decode().rpartition("}")[2] for name in await redis.raw.keys(f"{key.replace('{', '?')}*")}
    assert left == {""}, "only that the bucket was loaded"


async def test_max_subscriptions_counts_over_a_loss(core: Core, redis: DialogsInRedis) -> None:
    await core.subscribe(*(subscribe(f"sip:lamp{n}@example.com") for n in range(5)))
    name = "bob@example.net"
    assert await redis.tables.watchers({name: ([], [])}) == {name: 5}
    await redis.flush()
    await lose_everything(redis)
    await redis.keeper.load()
    assert await redis.tables.watchers({name: ([], [])}) == {name: 5}


# poisoned rows


async def test_a_nul_is_refused_as_postgres_would(core: Core) -> None:
    planned = plan_subscribe(subscribe(user_agent="Phone\x00"), POLICY)
    assert isinstance(planned, SubscribeCommand)
    assert not isinstance(planned, Reply)
    with pytest.raises(PoisonedError):
        await core.judge([planned])


async def test_a_row_that_postgres_cannot_take_holds_up_no_other(
    core: Core, redis: DialogsInRedis, postgres: asyncpg.Connection, notifier: DialogStore
) -> None:
    answers = await core.subscribe(*(subscribe(ALICE, from_uri=f"sip:w{n}@example.net") for n in range(20)))
    key = redis.tables.key(redis.tables.bucket(presentity_hash(ALICE)))
    name = answers[7].dialog_id.hex()
    packed = await redis.raw.hget(f"{key}:rows", name)
    await redis.raw.hset(f"{key}:rows", name, packed.replace(b"Phone/1.0", b"Phone\x001.0"))
    assert await redis.flush() == 20
    assert await postgres.fetchval("SELECT count(*) FROM active_watchers") == 19
    assert len(await sent(notifier)) == 20
