"""The verdict of each kind of SUBSCRIBE, and of its copies (RFC 6665), by `subscribe_batch_v3` and by its script."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from presence_core.adapters.rpc import RequestsHandler
from presence_core.domain.policy import Policy
from presence_core.domain.subscribe import SubscribeCommand, plan_subscribe
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import ALICE, BOB, EDGE, FLOW, in_dialog, publish, subscribe
from tests.integration.replicas import (
    NOTHING,
    POLICY,
    Core,
    DialogStore,
    MakeCore,
    Sql,
    answer_notifies,
    everything,
    let_dialogs_expire,
)
from vedette.identity import presentity_hash, to_tag
from vedette.records import DialogRecord
from vedette.rpc.contract import PublishCall, Reply, ReplyBatch, RequestBatch, SubscribeCall
from vedette.sip.flow import Flow
from vedette.store.database import Database, PoisonedError


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


def written(record: DialogRecord | None) -> DialogRecord:
    assert record is not None
    return record


# each verdict


async def test_sub_01_a_new_dialog_is_stored_with_all_a_notify_needs(
    core: Core, sql: Sql, notifier: DialogStore
) -> None:
    call = subscribe(expires=600, record_route=["<sip:p1.example.org;lr>", "<sip:p2.example.org;lr>;x=1"])
    answer = await core.subscribe_one(call)
    assert (answer.verdict, answer.status, answer.expires) == ("created", 200, 600)
    assert answer.to_tag.startswith("10.")
    record = written(answer.record)
    (row,) = await sql.fetch("SELECT *, expires - created AS lifetime FROM active_watchers")
    assert (row["presentity_uri"], row["event"], row["status"], row["ended"]) == (ALICE, "presence", 1, None)
    assert (row["watcher_username"], row["watcher_domain"]) == ("bob", "example.net")
    assert (row["callid"], row["from_tag"], row["to_tag"]) == (call.call_id, call.from_tag, answer.to_tag)
    assert row["lifetime"].total_seconds() == 600
    assert (record.revision, record.record_route) == (1, call.record_route)
    assert (record.contact, record.flow, record.edge_instance) == ("sip:bob@192.0.2.7:5060", FLOW, EDGE)
    assert record.local_contact == answer.header("Contact").strip("<>")
    assert record.expires == pytest.approx(row["expires"].timestamp(), abs=1)
    assert answer.to_tag == to_tag("10", presentity_hash(ALICE), record.dialog_id)
    (owed,) = await sql.fetch("SELECT * FROM delivery")
    assert (owed["sent_version"], owed["local_cseq"], owed["outstanding_cseq"]) == (0, 0, None)
    assert await answer_notifies(notifier, 200) == {record.dialog_id}
    assert await sql.fetchval("SELECT version FROM presentity_state") > 0


async def test_sub_11_a_refresh_moves_the_end_and_owes_a_notify(core: Core, sql: Sql, notifier: DialogStore) -> None:
    call = subscribe(expires=3600)
    created = await core.subscribe_one(call)
    await answer_notifies(notifier, 200)
    assert await sql.fetchval("SELECT sent_version FROM delivery") > 0
    answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=60))
    assert (answer.verdict, answer.status, answer.expires) == ("refreshed", 200, 60)
    assert answer.to_tag == created.to_tag
    record = written(answer.record)
    assert record.revision == 2
    (row,) = await sql.fetch("SELECT * FROM active_watchers")
    assert (row["remote_cseq"], row["revision"], row["granted"]) == (2, 2, 60)
    assert row["expires"].timestamp() < written(created.record).expires
    (owed,) = await sql.fetch("SELECT * FROM delivery")
    assert (owed["sent_version"], owed["local_cseq"], owed["revision"]) == (0, 1, 2)
    assert await answer_notifies(notifier, 200) == {record.dialog_id}


async def test_sub_12_expires_0_in_a_dialog_ends_it(core: Core, sql: Sql) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=0))
    assert (answer.verdict, answer.status, answer.expires) == ("ended", 200, 0)
    assert written(answer.record).reason == "timeout"
    (row,) = await sql.fetch("SELECT status, reason, ended FROM active_watchers")
    assert (row["status"], row["reason"]) == (3, "timeout")
    assert row["ended"] is not None
    assert await sql.fetchval("SELECT status FROM delivery") == 3
    before = await everything(sql)
    for expires in (3600, 0):
        late = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=3, expires=expires))
        assert (late.verdict, late.status) == ("unmatched", 481)
    assert await everything(sql) == before


async def test_sub_13_a_fetch_owes_one_notify_and_has_no_lifetime(core: Core, sql: Sql) -> None:
    answer = await core.subscribe_one(subscribe(expires=0))
    assert (answer.verdict, answer.status, answer.expires) == ("fetched", 200, 0)
    assert written(answer.record).reason == "timeout"
    (row,) = await sql.fetch("SELECT status, reason, ended FROM active_watchers")
    assert (row["status"], row["reason"]) == (3, "timeout")
    assert row["ended"] is not None
    assert tuple(await sql.fetchrow("SELECT status, sent_version FROM delivery") or ()) == (3, 0)


async def test_sub_15_an_expired_dialog_gets_481_before_anybody_has_swept_it(core: Core, sql: Sql) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await let_dialogs_expire(sql, ALICE)
    before = await everything(sql)
    answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))
    assert (answer.verdict, answer.status) == ("unmatched", 481)
    assert await everything(sql) == before


async def test_dlg_10_dlg_11_a_cseq_that_does_not_rise_gets_500(core: Core, sql: Sql) -> None:
    call = subscribe(cseq=7)
    created = await core.subscribe_one(call)
    before = await everything(sql)
    for cseq in (7, 6, 1):
        answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=cseq))
        assert (answer.verdict, answer.status) == ("out_of_order", 500)
    assert await everything(sql) == before


async def test_dlg_12_a_jump_of_cseq_is_taken(core: Core) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    assert (await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2**31 - 1))).verdict == "refreshed"


@pytest.mark.parametrize(
    "change",
    [{"to_tag": to_tag("10", presentity_hash(ALICE), b"\1" * 16)}, {"call_id": "other"}, {"from_tag": "other"}],
    ids=["to_tag", "call_id", "from_tag"],
)
async def test_dlg_15_a_dialog_that_is_not_there_gets_481(core: Core, sql: Sql, change: dict[str, Any]) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    before = await everything(sql)
    answer = await core.subscribe_one(replace(in_dialog(call, created.to_tag, cseq=2), **change))
    assert (answer.verdict, answer.status) == ("unmatched", 481)
    assert await everything(sql) == before


async def test_dlg_15_where_nothing_is_known_nothing_is_left(core: Core, sql: Sql) -> None:
    answer = await core.subscribe_one(in_dialog(subscribe(), to_tag("10", 5, b"\2" * 16), cseq=2))
    assert answer.status == 481
    assert await everything(sql) == NOTHING


async def test_dlg_16_changed_uris_do_not_matter_in_a_dialog(core: Core, sql: Sql) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    answer = await core.subscribe_one(
        in_dialog(
            call,
            created.to_tag,
            cseq=2,
            request_uri="sip:127.0.0.1:5060",
            from_uri="sip:x@y.example",
            from_value="<sip:x@y.example>",
            to_value="<sip:z@y.example>",
        )
    )
    assert answer.verdict == "refreshed"
    record = written(answer.record)
    assert (record.presentity_uri, record.from_value, record.to_value) == (ALICE, call.from_value, call.to_value)
    assert await sql.fetchval("SELECT count(*) FROM presentity_state") == 1


async def test_dlg_13_dlg_14_a_refresh_moves_the_target_and_keeps_the_routes(core: Core, sql: Sql) -> None:
    call = subscribe(record_route=["<sip:p1.example.org;lr>"])
    created = await core.subscribe_one(call)
    answer = await core.subscribe_one(
        in_dialog(
            call,
            created.to_tag,
            cseq=2,
            contacts=["<sip:bob@198.51.100.9:5080>"],
            record_route=["<sip:p9.example.org;lr>"],
            accept=["application/pidf+xml;q=0.5"],
        )
    )
    record = written(answer.record)
    assert (record.contact, record.record_route) == ("sip:bob@198.51.100.9:5080", ["<sip:p1.example.org;lr>"])
    row = await sql.fetchrow("SELECT contact, record_route FROM active_watchers")
    assert tuple(row or ()) == ("sip:bob@198.51.100.9:5080", "<sip:p1.example.org;lr>")


@pytest.mark.parametrize("event", ["presence;id=8", "presence"])
async def test_sub_17_dlg_20_another_event_id_in_the_dialog_gets_403(core: Core, sql: Sql, event: str) -> None:
    call = subscribe(event="presence;id=7")
    created = await core.subscribe_one(call)
    before = await everything(sql)
    answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, event=event))
    assert (answer.verdict, answer.status) == ("other_usage", 403)
    assert await everything(sql) == before
    assert (await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))).verdict == "refreshed"


async def test_aut_18_a_dialog_is_that_of_the_watcher_who_made_it(core: Core, sql: Sql) -> None:
    call = subscribe(watcher=BOB)
    created = await core.subscribe_one(call)
    before = await everything(sql)
    for expires in (0, 3600):
        later = in_dialog(call, created.to_tag, cseq=2, expires=expires, watcher="sip:mallory@example.net")
        answer = await core.subscribe_one(later)
        assert (answer.verdict, answer.status) == ("not_yours", 403)
    assert (await core.subscribe_one(replace(call, watcher="sip:bob@example.com"))).verdict == "not_yours"
    assert await everything(sql) == before
    # Where nobody proves who he is, From may change (RFC 3261 section 12.2.1.1).
    renamed = in_dialog(call, created.to_tag, cseq=2, watcher="", from_uri="sip:robert@example.net")
    assert (await core.subscribe_one(renamed)).verdict == "refreshed"
    assert (await core.subscribe_one(in_dialog(call, created.to_tag, cseq=3, watcher=BOB))).verdict == "refreshed"


async def test_aut_17_the_watcher_is_who_it_was_proved_to_be(core: Core, sql: Sql) -> None:
    await core.subscribe_one(subscribe(watcher="sip:carol@example.org"))
    row = await sql.fetchrow("SELECT watcher_username, watcher_domain FROM active_watchers")
    assert tuple(row or ()) == ("carol", "example.org")


async def test_sub_08_a_refresh_that_is_too_brief_keeps_the_old_end(make_core: MakeCore, sql: Sql) -> None:
    core = make_core(Policy(secret=POLICY.secret, min_expires=60))
    call = subscribe()
    created = await core.subscribe_one(call)
    before = await everything(sql)
    answer = await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=59))
    assert (answer.verdict, answer.status) == ("withheld", 423)
    assert answer.header("Min-Expires") == "60"
    assert await everything(sql) == before
    nowhere = in_dialog(call, to_tag("10", presentity_hash(ALICE), b"\3" * 16), cseq=2, expires=59)
    assert (await core.subscribe_one(nowhere)).status == 481


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(10, 10), (3600, 3600), (423197357, 3600), (2**32 - 1, 3600), (None, 3600)],
    ids=["sub_06-10", "sub_06-3600", "sub_31-linphone", "sub_31-2e32", "sub_06-absent"],
)
async def test_what_is_granted_is_what_is_stored(core: Core, sql: Sql, asked: int | None, granted: int) -> None:
    assert (await core.subscribe_one(subscribe(expires=asked))).expires == granted
    row = await sql.fetchrow("SELECT granted, extract(epoch FROM expires - created)::int FROM active_watchers")
    assert tuple(row or ()) == (granted, granted)


async def test_sub_22_sub_23_each_dialog_of_one_watcher_is_separate(core: Core, sql: Sql) -> None:
    calls = [subscribe() for _ in range(5)]
    answers = await core.subscribe(*calls)
    assert len({answer.to_tag for answer in answers}) == 5
    await core.subscribe_one(in_dialog(calls[2], answers[2].to_tag, cseq=2, expires=0))
    alive = {row["callid"] for row in await sql.fetch("SELECT callid FROM active_watchers WHERE ended IS NULL")}
    assert alive == {call.call_id for index, call in enumerate(calls) if index != 2}


async def test_uas_17_a_to_tag_depends_on_the_secret(core: Core, make_core: MakeCore) -> None:
    call = subscribe()
    here = await core.subscribe_one(call)
    elsewhere = await make_core(Policy(secret=b"another secret")).subscribe_one(call)
    assert here.to_tag != elsewhere.to_tag


async def test_what_is_outstanding_on_another_flow_is_given_up(core: Core, sql: Sql, notifier: DialogStore) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    assert [claim.cseq for claim in await notifier.claim(10, 10)] == [1]
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))
    assert await notifier.claim(10, 10) == [], "one is outstanding"
    row = await sql.fetchrow("SELECT outstanding_cseq, local_cseq, not_before FROM delivery")
    assert tuple(row or ()) == (1, 1, None)
    moved = in_dialog(call, created.to_tag, cseq=3, flow=Flow("tcp", "192.0.2.7", 40000, 12), edge_instance="edge-2")
    assert (await core.subscribe_one(moved)).verdict == "refreshed"
    row = await sql.fetchrow("SELECT outstanding_cseq, local_cseq, edge_instance, transport FROM delivery")
    assert tuple(row or ()) == (None, 1, "edge-2", "tcp")
    assert [claim.cseq for claim in await notifier.claim(10, 10)] == [2]


async def test_a_refresh_takes_back_the_pause_that_the_watcher_asked_for(
    core: Core, sql: Sql, notifier: DialogStore
) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await answer_notifies(notifier, 503, retry_after=3000)
    assert await sql.fetchval("SELECT not_before FROM delivery") is not None
    assert await notifier.claim(10, 10) == []
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2))
    assert await sql.fetchval("SELECT not_before FROM delivery") is None
    assert [claim.cseq for claim in await notifier.claim(10, 10)] == [2]


# copies


@pytest.mark.parametrize("kind", ["initial", "fetch", "refresh", "unsubscribe"])
async def test_a_copy_of_each_kind_gets_the_same_answer_and_changes_nothing(core: Core, sql: Sql, kind: str) -> None:
    first = subscribe()
    created = await core.subscribe_one(first)
    call = {
        "initial": subscribe(expires=1000),
        "fetch": subscribe(expires=0),
        "refresh": in_dialog(first, created.to_tag, cseq=2, expires=1000),
        "unsubscribe": in_dialog(first, created.to_tag, cseq=2, expires=0),
    }[kind]
    answer = await core.subscribe_one(call)
    assert answer.status == 200
    before = await everything(sql)
    for _ in range(3):
        copy = await core.subscribe_one(call)
        assert (copy.verdict, copy.reply, copy.record) == ("replayed", answer.reply, None)
    assert await everything(sql) == before


async def test_a_copy_that_reaches_another_replica_makes_no_second_dialog(
    core: Core, make_core: MakeCore, database_url: str
) -> None:
    other_database = Database(database_url, size=1, name="other")
    try:
        other = make_core(POLICY, other_database)
        call = subscribe()
        answers = await asyncio.gather(*((core, other)[i % 2].subscribe_one(call) for i in range(8)))
        assert sorted(answer.verdict for answer in answers) == ["created", *["replayed"] * 7]
        assert all(answer.reply == answers[0].reply for answer in answers)
    finally:
        await other_database.close()


async def test_a_late_copy_of_an_initial_subscribe_revives_nothing(core: Core, sql: Sql) -> None:
    call = subscribe()
    created = await core.subscribe_one(call)
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=2, expires=60))
    before = await everything(sql)
    late = await core.subscribe_one(call)
    assert (late.verdict, late.reply) == ("replayed", created.reply)
    assert await everything(sql) == before
    await core.subscribe_one(in_dialog(call, created.to_tag, cseq=3, expires=0))
    before = await everything(sql)
    assert (await core.subscribe_one(call)).reply == created.reply
    assert await everything(sql) == before


async def test_a_copy_of_a_refresh_whose_dialog_was_ended_by_an_outcome_gets_its_answer(core: Core, sql: Sql) -> None:
    first = subscribe()
    created = await core.subscribe_one(first)
    call = in_dialog(first, created.to_tag, cseq=2)
    answer = await core.subscribe_one(call)
    await sql.execute("UPDATE active_watchers SET ended = clock_timestamp(), status = 3, reason = 'deactivated'")
    assert (await core.subscribe_one(call)).reply == answer.reply


# batches


class Collecting:
    """Takes announcements and tells nobody."""

    def __init__(self) -> None:
        self.dialogs: list[object] = []
        self.wakes = 0

    def announce(self, *, published: object = (), dialogs: Any = (), wake: bool = False) -> None:
        self.dialogs += dialogs
        self.wakes += wake


def requests_handler(core: Core, announcer: Collecting | None = None) -> RequestsHandler:
    announcer = announcer or Collecting()
    return RequestsHandler(
        PublishFlow(core.store.publish, announcer, core.policy, FlowLimits(), core.store.held),
        SubscribeFlow(core.judge, announcer, core.policy, FlowLimits()),
    )


async def handle(handler: RequestsHandler, *calls: PublishCall | SubscribeCall) -> list[Reply]:
    answer = await handler(msgspec.msgpack.encode(RequestBatch(list(calls))))
    return msgspec.msgpack.decode(answer, type=ReplyBatch).replies


async def test_a_batch_answers_in_the_order_it_was_given(core: Core) -> None:
    first = [subscribe(f"sip:user{number % 7}@example.com", expires=100 + number) for number in range(60)]
    created = await core.subscribe(*first)
    assert [answer.expires for answer in created] == [100 + number for number in range(60)]
    mixed = [
        [
            in_dialog(call, answer.to_tag, cseq=2, expires=60),
            in_dialog(call, answer.to_tag, cseq=2, expires=0),
            in_dialog(call, answer.to_tag, cseq=1),
            in_dialog(call, to_tag("10", 1, b"\4" * 16), cseq=2),
            call,
            subscribe(),
        ][number % 6]
        for number, (call, answer) in enumerate(zip(first, created, strict=True))
    ]
    answers = await core.subscribe(*mixed)
    kinds = ["refreshed", "ended", "out_of_order", "unmatched", "replayed", "created"]
    assert [answer.verdict for answer in answers] == kinds * 10


async def test_sub_24_a_dialog_many_times_in_a_batch_is_taken_in_order(core: Core, sql: Sql) -> None:
    announcer = Collecting()
    handler = requests_handler(core, announcer)
    call = subscribe()
    (created,) = await handle(handler, call)
    chain = [in_dialog(call, created.to_tag, cseq=2 + step, expires=100 + step) for step in range(20)]
    published = [publish(f"sip:user{number}@example.com") for number in range(20)]
    replies = await handle(handler, *[each for pair in zip(chain, published, strict=True) for each in pair])
    assert [reply.status for reply in replies] == [200] * 40
    assert [int(dict(reply.headers)["Expires"]) for reply in replies[::2]] == [100 + step for step in range(20)]
    row = await sql.fetchrow("SELECT remote_cseq, revision, granted FROM active_watchers")
    assert tuple(row or ()) == (21, 21, 119)
    assert len(announcer.dialogs) == 21
    assert announcer.wakes >= 21


async def test_of_a_batch_only_what_postgres_cannot_take_is_refused(core: Core, sql: Sql) -> None:
    """A NUL is no text to Postgres. The flow halves the batch down to the culprits (invariant 5)."""
    calls = [subscribe() for _ in range(100)]
    culprits = {13, 14, 77}
    for index in culprits:
        calls[index] = replace(calls[index], user_agent="Phone\x00")
    planned = [plan_subscribe(call, POLICY) for call in calls]
    commands = [command for command in planned if isinstance(command, SubscribeCommand)]
    with pytest.raises(PoisonedError):
        await core.judge(commands)
    assert await everything(sql) == NOTHING
    replies = await handle(requests_handler(core), *calls)
    assert [index for index, reply in enumerate(replies) if reply.status != 200] == sorted(culprits)
    assert {replies[index].status for index in culprits} == {500}
    assert await sql.fetchval("SELECT count(*) FROM active_watchers") == 97
    again = await handle(requests_handler(core), *calls)
    assert again == replies
    assert await sql.fetchval("SELECT count(*) FROM active_watchers") == 97


async def test_a_watcher_with_a_foreign_scheme_is_kept_as_it_is(core: Core, sql: Sql) -> None:
    await core.subscribe_one(subscribe(from_uri="tel:+1-201-555-0123", from_value="<tel:+1-201-555-0123>"))
    row = await sql.fetchrow("SELECT watcher_username, watcher_domain FROM active_watchers")
    assert tuple(row or ()) == ("", "tel:+1-201-555-0123")


async def test_a_presentity_that_nobody_publishes_has_a_version_once_it_is_watched(core: Core, sql: Sql) -> None:
    await core.subscribe(subscribe(), subscribe(), subscribe(expires=0), subscribe(from_uri=BOB))
    versions = await sql.fetch("SELECT version FROM presentity_state")
    assert len(versions) == 1
    assert versions[0]["version"] > 0
    await core.subscribe_one(subscribe())
    assert await sql.fetch("SELECT version FROM presentity_state") == versions


async def test_sub_19_the_type_of_the_last_subscribe_is_that_of_the_dialog(core: Core, notifier: DialogStore) -> None:
    """With types that no package has yet: what the decision chose is what the notifier composes in."""

    async def chosen(call: SubscribeCall, media_type: str) -> SubscribeCommand:
        command = plan_subscribe(call, POLICY)
        assert isinstance(command, SubscribeCommand)
        (verdict,) = await core.judge([command._replace(accept=media_type)])
        assert verdict.record is not None
        assert verdict.record.accept == media_type
        (read,) = await notifier.dialogs([(command.presentity_hash, command.dialog_id)])
        assert (read.accept, read.revision) == (media_type, verdict.record.revision)
        return command

    call = subscribe()
    first = await chosen(call, "application/xpidf+xml")
    for number, media_type in enumerate(
        ("application/pidf+xml", "application/pidf-diff+xml", "application/pidf+xml")
    ):
        await chosen(in_dialog(call, first.to_tag, cseq=2 + number), media_type)
