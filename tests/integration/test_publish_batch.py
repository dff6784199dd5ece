"""`publish_batch_v2` through its adapter: each kind of PUBLISH, and its copies (RFC 3903 section 6)."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from presence_core.adapters.rpc import RequestsHandler
from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, plan_publish
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import NOTHING, POLICY, Connection, Core, everything, let_publications_expire
from tests.phone import pidf
from vedette.rpc.contract import PublishCall, Reply, ReplyBatch, RequestBatch
from vedette.store.database import Database, PoisonedError

# each verdict


async def test_pub_01_a_new_publication_is_stored_and_named(core: Core, sql: Connection) -> None:
    call = publish(expires=600)
    answer = await core.publish_one(call)
    assert (answer.verdict, answer.status, answer.expires) == ("created", 200, 600)
    (row,) = await sql.fetch("SELECT *, expires - received_time AS lifetime FROM presentity")
    assert (row["presentity_uri"], row["username"], row["domain"], row["event"]) == (
        ALICE,
        "alice",
        "example.com",
        "presence",
    )
    assert (row["etag"], row["body"], row["content_type"]) == (answer.etag, call.body, "application/pidf+xml")
    assert row["lifetime"].total_seconds() == 600
    assert row["version"] == answer.version == await sql.fetchval("SELECT version FROM presentity_state")


async def test_pub_07_pub_14_pub_15_pub_16_each_operation_answers_with_a_new_tag(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    refreshed = await core.publish_one(publish(etag=created.etag, expires=1200))
    assert (refreshed.verdict, refreshed.expires, refreshed.version) == ("refreshed", 1200, None)
    body = pidf(ALICE, basic="closed")
    modified = await core.publish_one(publish(etag=refreshed.etag, body=body))
    assert modified.verdict == "modified"
    (row,) = await sql.fetch("SELECT * FROM presentity")
    assert (row["body"], row["etag"]) == (body, modified.etag)
    removed = await core.publish_one(publish(etag=modified.etag, expires=0))
    assert (removed.verdict, removed.status, removed.expires) == ("removed", 200, 0)
    (row,) = await sql.fetch("SELECT * FROM presentity")
    assert row["body"] == b""
    assert row["ended"] is not None
    tags = [answer.etag for answer in (created, refreshed, modified, removed)]
    assert len(set(tags)) == 4
    versions = [answer.version for answer in (created, modified, removed)]
    assert versions == sorted(v for v in versions if v is not None)
    before = await everything(sql)
    for tag in tags:
        for later in (publish(etag=tag), publish(etag=tag, body=body), publish(etag=tag, expires=0)):
            answer = await core.publish_one(later)
            assert (answer.verdict, answer.status, answer.reply.headers) == ("unmatched", 412, [])
    assert await everything(sql) == before


async def test_pub_14_a_refresh_keeps_state_and_version_and_moves_the_end(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish(expires=60))
    (before,) = await sql.fetch("SELECT * FROM presentity")
    answer = await core.publish_one(publish(etag=created.etag, expires=1800))
    (after,) = await sql.fetch("SELECT * FROM presentity")
    assert answer.version is None
    for column in ("body", "content_type", "version", "received_time", "sender"):
        assert after[column] == before[column], column
    assert 1700 < (after["expires"] - before["expires"]).total_seconds() < 1800


async def test_pub_41_identical_content_is_a_refresh(core: Core) -> None:
    body = pidf(ALICE, note="same")
    await core.subscribe_one(subscribe())
    created = await core.publish_one(publish(body=body))
    same = await core.publish_one(publish(etag=created.etag, body=body))
    assert (same.verdict, same.version, same.watched) == ("refreshed", None, False)
    assert same.etag != created.etag


async def test_pub_17_expires_0_with_a_body_removes_and_stores_nothing(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    answer = await core.publish_one(publish(etag=created.etag, expires=0, body=pidf(ALICE, note="stale")))
    assert (answer.verdict, answer.expires) == ("removed", 0)
    assert [row["body"] for row in await sql.fetch("SELECT body FROM presentity")] == [b""]


async def test_pub_05_a_tag_of_another_resource_gets_412(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    before = await everything(sql)
    answer = await core.publish_one(publish("sip:carol@example.com", etag=created.etag))
    assert (answer.verdict, answer.status) == ("unmatched", 412)
    assert await everything(sql) == before


async def test_pub_05_a_tag_of_another_package_gets_412(core: Core) -> None:
    created = await core.publish_one(publish())
    planned = plan_publish(publish(etag=created.etag), POLICY)
    assert isinstance(planned, PublishCommand)
    other = PublishCommand(
        planned.presentity._replace(event="dialog"), planned.key, planned.publication_id, 1, 60, None, None
    )
    (verdict,) = await core.store.publish([other])
    assert verdict.verdict == "unmatched"


async def test_pub_06_an_expired_tag_gets_412_before_anybody_has_swept_it(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    await let_publications_expire(sql, ALICE)
    before = await everything(sql)
    for call in (publish(etag=created.etag), publish(etag=created.etag, expires=0)):
        answer = await core.publish_one(call)
        assert (answer.verdict, answer.status) == ("unmatched", 412)
    assert await everything(sql) == before


@pytest.mark.parametrize("tag", [f"{'0' * 32}.1", "not-one-of-ours"], ids=["never-given", "foreign"])
async def test_pub_04_an_unknown_tag_gets_412_and_leaves_nothing(core: Core, sql: Connection, tag: str) -> None:
    planned = plan_publish(publish(etag=tag), POLICY)
    if isinstance(planned, Reply):
        assert planned.status == 412
    else:
        (verdict,) = await core.store.publish([planned])
        assert verdict.verdict == "unmatched"
    assert await everything(sql) == NOTHING


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"expires": 5}, 423),
        ({"body": b"no xml"}, 400),
        ({"body": b"text", "content_type": "text/plain"}, 415),
    ],
    ids=["pub_11_too_brief", "pub_32_malformed", "pub_12_wrong_type"],
)
async def test_a_later_fault_counts_only_if_the_tag_matches(
    database: Database, sql: Connection, fault: dict[str, object], status: int
) -> None:
    core = Core(database, Policy(secret=POLICY.secret, min_expires=60))
    created = await core.publish_one(publish())
    before = await everything(sql)
    answer = await core.publish_one(publish(etag=created.etag, **fault))  # type: ignore[arg-type]
    assert (answer.verdict, answer.status) == ("withheld", status)
    wrong = await core.publish_one(publish(etag=f"{'ab' * 16}.1", **fault))  # type: ignore[arg-type]
    assert (wrong.verdict, wrong.status) == ("unmatched", 412)
    assert await everything(sql) == before
    assert (await core.publish_one(publish(etag=created.etag))).verdict == "refreshed"


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(10, 10), (3600, 3600), (10**9, 3600), (2**32 - 1, 3600), (None, 3600)],
    ids=["pub_09-10", "pub_09-3600", "pub_09-1e9", "pub_09-2e32", "pub_10-absent"],
)
async def test_what_is_granted_is_what_is_stored(
    core: Core, sql: Connection, asked: int | None, granted: int
) -> None:
    answer = await core.publish_one(publish(expires=asked))
    assert answer.expires == granted
    (row,) = await sql.fetch("SELECT granted, expires - received_time AS lifetime FROM presentity")
    assert (row["granted"], row["lifetime"].total_seconds()) == (granted, granted)


async def test_pub_15_cmp_02_a_change_touches_its_own_publication_only(core: Core, sql: Connection) -> None:
    first, second, third = [await core.publish_one(publish()) for _ in range(3)]
    rows = {row["etag"]: tuple(row) for row in await sql.fetch("SELECT * FROM presentity")}
    modified = await core.publish_one(publish(etag=second.etag, body=pidf(ALICE, note="changed")))
    removed = await core.publish_one(publish(etag=third.etag, expires=0))
    now = {row["etag"]: tuple(row) for row in await sql.fetch("SELECT * FROM presentity")}
    assert now.keys() == {first.etag, modified.etag, removed.etag}
    assert now[first.etag] == rows[first.etag]
    # What the cache is told: the publications that are alive, each with the version of its body.
    assert {version for _, version in modified.others} == {first.version, third.version}
    assert {version for _, version in removed.others} == {first.version, modified.version}


async def test_cmp_03_what_is_expired_is_no_part_of_the_presentity(core: Core, sql: Connection) -> None:
    await core.publish_one(publish())
    await let_publications_expire(sql, ALICE)
    second = await core.publish_one(publish())
    assert second.others == ()


# copies


@pytest.mark.parametrize("kind", ["initial", "refresh", "modify", "remove"])
async def test_a_copy_of_each_kind_gets_the_same_answer_and_changes_nothing(
    core: Core, sql: Connection, kind: str
) -> None:
    await core.subscribe_one(subscribe())
    created = await core.publish_one(publish())
    call = {
        "initial": publish(expires=1000),
        "refresh": publish(etag=created.etag, expires=1000),
        "modify": publish(etag=created.etag, expires=1000, body=pidf(ALICE, note="new")),
        "remove": publish(etag=created.etag, expires=0),
    }[kind]
    answer = await core.publish_one(call)
    assert answer.status == 200
    before = await everything(sql)
    for _ in range(3):
        copy = await core.publish_one(call)
        assert (copy.verdict, copy.reply) == ("replayed", answer.reply)
        assert copy.version is None
        assert not copy.watched
    assert await everything(sql) == before


async def test_a_copy_that_reaches_another_replica_gets_the_same_answer(core: Core, database_url: str) -> None:
    other_database = Database(database_url, size=1, name="other")
    try:
        other = Core(other_database)
        call = publish()
        answers = await asyncio.gather(*((core, other)[i % 2].publish_one(call) for i in range(8)))
        assert sorted(answer.verdict for answer in answers) == ["created", *["replayed"] * 7]
        assert all(answer.reply == answers[0].reply for answer in answers)
    finally:
        await other_database.close()


async def test_a_late_copy_of_an_initial_publish_revives_nothing(core: Core, sql: Connection) -> None:
    call = publish()
    created = await core.publish_one(call)
    refreshed = await core.publish_one(publish(etag=created.etag))
    late = await core.publish_one(call)
    assert (late.verdict, late.reply) == ("replayed", created.reply)
    removed = await core.publish_one(publish(etag=refreshed.etag, expires=0))
    assert removed.verdict == "removed"
    before = await everything(sql)
    assert (await core.publish_one(call)).reply == created.reply
    assert await everything(sql) == before
    assert await sql.fetchval("SELECT count(*) FROM presentity WHERE ended IS NULL") == 0


async def test_a_copy_of_a_refresh_that_came_just_before_its_end_gets_its_answer(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    call = publish(etag=created.etag)
    answer = await core.publish_one(call)
    await let_publications_expire(sql, ALICE)
    assert (await core.publish_one(call)).reply == answer.reply


async def test_pub_36_a_fresh_publish_after_412_is_another_publication(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    await let_publications_expire(sql, ALICE)
    assert (await core.publish_one(publish(etag=created.etag))).status == 412
    fresh = await core.publish_one(publish())
    assert (fresh.verdict, fresh.others) == ("created", ())
    assert fresh.etag.split(".")[0] != created.etag.split(".")[0]


# batches


async def test_a_batch_answers_in_the_order_it_was_given(core: Core) -> None:
    uris = [f"sip:user{number}@example.com" for number in range(50)]
    created = await core.publish(*(publish(uri, expires=100 + number) for number, uri in enumerate(uris)))
    assert [answer.expires for answer in created] == [100 + number for number in range(50)]
    mixed = [
        [
            publish(uri, etag=answer.etag, expires=60),
            publish(uri, etag=answer.etag, body=pidf(uri, note="x")),
            publish(uri, etag=answer.etag, expires=0),
            publish(uri, etag=f"{'cd' * 16}.7"),
            publish(uri),
        ][number % 5]
        for number, (uri, answer) in enumerate(zip(uris, created, strict=True))
    ]
    answers = await core.publish(*mixed)
    assert [answer.verdict for answer in answers] == [
        *(["refreshed", "modified", "removed", "unmatched", "created"] * 10)
    ]


class Deaf:
    """Takes announcements and tells nobody."""

    def announce(self, *, published: object = (), dialogs: object = (), wake: bool = False) -> None:
        self.last: tuple[object, object, bool] = (published, dialogs, wake)


def requests_handler(core: Core, limits: FlowLimits | None = None) -> RequestsHandler:
    limits = limits or FlowLimits()
    announcer = Deaf()
    return RequestsHandler(
        PublishFlow(core.store.publish, announcer, core.policy, limits, core.store.held),
        SubscribeFlow(core.store.subscribe, announcer, core.policy, limits),
    )


async def handle(handler: RequestsHandler, *calls: PublishCall) -> list[Reply]:
    answer = await handler(msgspec.msgpack.encode(RequestBatch(list(calls))))
    return msgspec.msgpack.decode(answer, type=ReplyBatch).replies


async def test_pub_19_one_presentity_many_times_in_a_batch_is_taken_in_order(core: Core, sql: Connection) -> None:
    handler = requests_handler(core)
    (first,) = await handle(handler, publish())
    tag = dict(first.headers)["SIP-ETag"]
    publication, _, number = tag.partition(".")
    chain = [
        publish(etag=f"{publication}.{int(number) + step}", body=pidf(ALICE, note=f"step {step}"), expires=100 + step)
        for step in range(20)
    ]
    others = [publish(f"sip:other{number}@example.com") for number in range(20)]
    interleaved = [call for pair in zip(chain, others, strict=True) for call in pair]
    replies = await handle(handler, *interleaved)
    assert [reply.status for reply in replies] == [200] * 40
    mine = [dict(reply.headers) for reply in replies[::2]]
    assert [int(headers["Expires"]) for headers in mine] == [100 + step for step in range(20)]
    assert [headers["SIP-ETag"] for headers in mine] == [f"{publication}.{step + 2}" for step in range(20)]
    body = await sql.fetchval("SELECT body FROM presentity WHERE presentity_uri = $1", ALICE)
    assert body == pidf(ALICE, note="step 19")


async def test_pub_19_copies_in_one_batch_have_one_effect(core: Core, sql: Connection) -> None:
    call = publish()
    replies = await handle(requests_handler(core), *[call] * 5)
    assert [reply.status for reply in replies] == [200] * 5
    assert len({reply.headers[1] for reply in replies}) == 1
    assert await sql.fetchval("SELECT count(*) FROM presentity") == 1


async def test_pub_26_what_exceeds_the_queue_gets_503_with_retry_after(core: Core, sql: Connection) -> None:
    handler = requests_handler(core, FlowLimits(max_batch=4, max_in_flight=1, max_queue=8))
    calls = [publish(f"sip:user{number}@example.com") for number in range(20)]
    replies = await handle(handler, *calls)
    statuses = [reply.status for reply in replies]
    assert statuses == [200] * 8 + [503] * 12
    assert dict(replies[-1].headers)["Retry-After"]
    stored = {row["presentity_uri"] for row in await sql.fetch("SELECT presentity_uri FROM presentity")}
    assert stored == {call.request_uri for call in calls[:8]}
    # The same requests again: those that were stored get their answer, the others another chance.
    again = await handle(requests_handler(core), *calls)
    assert [reply.status for reply in again] == [200] * 20
    assert [reply.headers for reply in again[:8]] == [reply.headers for reply in replies[:8]]


# limits and faults


async def test_pub_20_what_postgres_cannot_take_is_named_and_leaves_nothing(core: Core, sql: Connection) -> None:
    """A NUL is no text to Postgres; the flow halves the batch by this word."""
    planned = [plan_publish(publish(f"sip:user{number}@example.com"), POLICY) for number in range(3)]
    commands = [command for command in planned if isinstance(command, PublishCommand)]
    poisoned = replace(commands[1], content_type="application/x\x00")
    with pytest.raises(PoisonedError):
        await core.store.publish([commands[0], poisoned, commands[2]])
    assert await everything(sql) == NOTHING
    assert [verdict.verdict for verdict in await core.store.publish(commands)] == ["created"] * 3


@pytest.mark.parametrize("size", [0, 1, 8192, 1_000_000])
async def test_bodies_come_back_octet_by_octet(core: Core, sql: Connection, size: int) -> None:
    body = pidf(ALICE, note="n" * size)
    await core.publish_one(publish(body=body))
    assert await sql.fetchval("SELECT body FROM presentity") == body


async def test_a_publication_whose_number_has_ten_digits_has_to_be_made_anew(core: Core, sql: Connection) -> None:
    """So the number can never reach the end of its column."""
    created = await core.publish_one(publish())
    publication = created.etag.split(".")[0]
    await sql.execute("UPDATE presentity SET sequence = 999999999")
    last = await core.publish_one(publish(etag=f"{publication}.999999999"))
    assert (last.verdict, last.etag) == ("refreshed", f"{publication}.1000000000")
    refused = plan_publish(publish(etag=last.etag), POLICY)
    assert isinstance(refused, Reply)
    assert refused.status == 412


# who is told


async def test_pub_39_a_change_is_told_only_where_somebody_watches(core: Core, sql: Connection) -> None:
    created = await core.publish_one(publish())
    assert not created.watched
    modified = await core.publish_one(publish(etag=created.etag, body=pidf(ALICE, note="x")))
    assert not modified.watched
    assert await sql.fetchval("SELECT count(*) FROM change_event") == 0

    await core.subscribe_one(subscribe())
    await sql.execute("DELETE FROM change_event")
    refreshed = await core.publish_one(publish(etag=modified.etag))
    assert not refreshed.watched
    assert await sql.fetchval("SELECT count(*) FROM change_event") == 0
    changed = await core.publish_one(publish(etag=refreshed.etag, body=pidf(ALICE, note="y")))
    removed = await core.publish_one(publish(etag=changed.etag, expires=0))
    created = await core.publish_one(publish())
    assert [answer.watched for answer in (changed, removed, created)] == [True] * 3
    events = await sql.fetch("SELECT presentity_uri, event, dialog_id FROM change_event")
    assert [tuple(event) for event in events] == [(ALICE, "presence", None)] * 3
    assert not (await core.publish_one(publish("sip:carol@example.com"))).watched


async def test_pub_08_no_tag_comes_twice(core: Core, sql: Connection) -> None:
    """Also after everything of the presentity was swept and came again, and for the same request (a copy)."""
    seen: set[str] = set()
    for _ in range(3):
        answer = await core.publish_one(publish())
        for _ in range(20):
            assert answer.etag not in seen
            seen.add(answer.etag)
            answer = await core.publish_one(publish(etag=answer.etag))
        await core.publish_one(publish(etag=answer.etag, expires=0))
        await sql.execute("DELETE FROM presentity; DELETE FROM presentity_state")
    assert len(seen) == 60


async def test_versions_rise_across_the_removal_of_a_presentity(core: Core, sql: Connection) -> None:
    first = await core.publish_one(publish())
    await sql.execute("DELETE FROM presentity; DELETE FROM presentity_state")
    second = await core.publish_one(publish())
    assert first.version is not None
    assert second.version is not None
    assert second.version > first.version
