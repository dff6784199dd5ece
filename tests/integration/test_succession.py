"""What removed publications of calls leave behind, in the tables (rows DLI-15, PUB-11, PUB-19; invariants 1, 2)."""

from dataclasses import replace

import pytest

from notifier.adapters.postgres import NotifierStore
from tests.dialog_info import TYPE, call, dialogs, read
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Answer, Connection, Core, answer_notifies, everything, let_publications_expire
from vedette.rpc.contract import PublishCall
from vedette.store.database import Database

ENDED = dialogs(call("terminated", "a"))


def calls(body: bytes = b"", *, etag: str | None = None, expires: int = 600, uri: str = ALICE) -> PublishCall:
    return publish(uri, etag=etag, expires=expires, event="dialog", body=body, content_type=TYPE)


async def stored(sql: Connection) -> list[tuple[bytes, int, int]]:
    """Of each publication that is alive: its body, what was granted, and for how many seconds it lives."""
    rows = await sql.fetch(
        "SELECT body, granted, extract(epoch FROM expires - received_time)::int AS lifetime FROM presentity "
        "WHERE ended IS NULL ORDER BY body"
    )
    return [tuple(row) for row in rows]


async def removed(core: Core) -> Answer:
    """The answer to a removal that says that the call has ended."""
    created = await core.publish_one(calls(dialogs(call("confirmed", "a"))))
    return await core.publish_one(calls(ENDED, etag=created.etag, expires=0))


async def test_a_removal_leaves_the_end_of_the_call_for_a_while_under_a_dead_tag(core: Core, sql: Connection) -> None:
    answer = await removed(core)
    assert (answer.verdict, answer.status, answer.expires) == ("lingers", 200, 0)
    ((body, granted, lifetime),) = await stored(sql)
    assert (read(body).states, granted, lifetime) == (["terminated"], 0, 64)
    for later in (calls(etag=answer.etag), calls(dialogs(), etag=answer.etag), calls(etag=answer.etag, expires=0)):
        assert (await core.publish_one(later)).status == 412
    other = await core.publish_one(calls(dialogs()))
    assert len(other.others) == 1, "it is still part of the presentity"


async def test_what_lingers_ends_by_itself_and_its_watcher_is_told(
    core: Core, sql: Connection, notifier: NotifierStore
) -> None:
    bob = await core.subscribe_one(subscribe(event="dialog"))
    assert await answer_notifies(notifier, 200) == {bob.dialog_id}
    await removed(core)
    assert await answer_notifies(notifier, 200) == {bob.dialog_id}
    assert await answer_notifies(notifier, 200) == set()
    await let_publications_expire(sql, ALICE)
    (ended,) = await notifier.expire(100)
    assert ended.kind == "publication"
    assert await stored(sql) == []
    assert await answer_notifies(notifier, 200) == {bob.dialog_id}


@pytest.mark.parametrize("initial", [True, False])
async def test_a_copy_of_such_a_removal_gets_the_same_answer_and_changes_nothing(
    core: Core, sql: Connection, database_url: str, *, initial: bool
) -> None:
    etag = None if initial else (await core.publish_one(calls(dialogs(call("early", "a"))))).etag
    request = calls(ENDED, etag=etag, expires=0)
    answer = await core.publish_one(request)
    assert (answer.status, answer.expires) == (200, 0)
    before = await everything(sql)
    other_database = Database(database_url, size=1, name="other")
    try:
        for replica in (core, Core(other_database)):
            copy = await replica.publish_one(request)
            assert (copy.verdict, copy.reply) == ("replayed", answer.reply)
        assert await everything(sql) == before
    finally:
        await other_database.close()
    await let_publications_expire(sql, ALICE)
    assert (await core.publish_one(request)).reply == answer.reply
    assert len(await stored(sql)) == 1, "a tombstone that nobody has expired yet"


async def test_a_removal_that_ends_no_call_leaves_nothing(core: Core, sql: Connection) -> None:
    for body in (dialogs(call("confirmed", "a")), dialogs(), dialogs(call("terminated", None, name="1"))):
        created = await core.publish_one(calls(body))
        assert (await core.publish_one(calls(etag=created.etag, expires=0))).verdict == "removed"
        assert await stored(sql) == []


async def test_what_lingers_takes_nobodys_place_and_is_limited_itself(core: Core, sql: Connection) -> None:
    core = Core(core.store._database, replace(core.policy, max_publications=2))
    for number in range(2):
        assert (await core.publish_one(calls(dialogs(call("terminated", f"c{number}")), expires=0))).status == 200
    assert (await core.publish_one(calls(dialogs(call("terminated", "c2")), expires=0))).status == 403
    for number in range(2):
        assert (await core.publish_one(calls(dialogs(call("early", f"e{number}"))))).status == 200
    assert (await core.publish_one(calls(dialogs(call("early", "e2"))))).status == 403
    assert len(await stored(sql)) == 4


async def test_a_change_is_merged_with_the_body_of_its_tag(core: Core, sql: Connection) -> None:
    first = await core.publish_one(calls(dialogs(call("confirmed", "a"), call("early", "b"))))
    second = await core.publish_one(calls(dialogs(call("confirmed", "b"), state="partial"), etag=first.etag))
    assert second.verdict == "modified"
    ((body, _, _),) = await stored(sql)
    assert sorted(read(body).dialogs) == [("a", "confirmed"), ("b", "confirmed")]
    stale = await core.publish_one(calls(dialogs(call("early", "c")), etag=first.etag))
    assert stale.status == 412
    third = await core.publish_one(calls(dialogs(call("early", "a"), call("trying", "b")), etag=second.etag))
    ((body, _, _),) = await stored(sql)
    assert sorted(read(body).dialogs) == [("a", "confirmed"), ("b", "confirmed")], "no state goes back"
    assert third.status == 200


async def test_calls_and_presence_of_one_batch_are_judged_together(core: Core) -> None:
    dave, erin = "sip:dave@example.com", "sip:erin@example.com"
    created = await core.publish(calls(dialogs(call("early", "a")), uri=dave), publish(erin))
    answers = await core.publish(
        calls(ENDED, uri=dave, etag=created[0].etag, expires=0), publish(erin, etag=created[1].etag, expires=0)
    )
    assert [answer.verdict for answer in answers] == ["lingers", "removed"]


async def test_the_end_of_a_call_ends_all_publications_about_it_and_no_others(core: Core, sql: Connection) -> None:
    for state in ("trying", "early", "confirmed"):
        await core.publish_one(calls(dialogs(call(state, "a"))))
    await core.publish_one(calls(dialogs(call("confirmed", "b"))))
    await core.publish_one(calls(dialogs(call("confirmed", "a"), call("early", "c"))))
    ended = await core.publish_one(calls(ENDED, expires=11))
    assert len(ended.others) == 2
    assert len(await stored(sql)) == 3
    rows = await sql.fetch("SELECT version FROM presentity WHERE ended IS NULL AND publication_id <> $1", b"")
    assert {version for _, version in ended.others} < {row["version"] for row in rows}


async def test_only_the_leg_that_ended_is_over(core: Core, sql: Connection) -> None:
    for remote in ("r1", "r2", None):
        await core.publish_one(calls(dialogs(call("early", "a", local="l", remote=remote))))
    await core.publish_one(calls(dialogs(call("terminated", "a", local="l", remote="r1"))))
    left = sorted(b"r2" in body for body, _, _ in await stored(sql))
    assert left == [False, True], "the end of leg r1, and leg r2"
    await core.publish_one(calls(dialogs(call("terminated", "a"))))
    assert [read(body).states for body, _, _ in await stored(sql)] == [["terminated"]] * 2


@pytest.mark.parametrize("expires", [0, 11])
async def test_what_comes_after_the_end_is_over_as_soon_as_it_is_made(
    core: Core, sql: Connection, notifier: NotifierStore, expires: int
) -> None:
    """Also when the publication that told the end is over itself, as long as its tombstone is there."""
    bob = await core.subscribe_one(subscribe(event="dialog"))
    await core.publish_one(calls(ENDED, expires=expires))
    for _ in range(2):
        assert await answer_notifies(notifier, 200) == {bob.dialog_id}
        late = calls(dialogs(call("early", "a", local="l")))
        answer = await core.publish_one(late)
        assert (answer.verdict, answer.status, answer.expires, answer.version) == ("created", 200, 600, None)
        assert (await core.publish_one(late)).reply == answer.reply
        assert (await core.publish_one(calls(etag=answer.etag))).status == 412
        assert not any(b"early" in body for body, _, _ in await stored(sql))
        assert await answer_notifies(notifier, 200) == set()
        await let_publications_expire(sql, ALICE)
        await notifier.expire(100)
    other = await core.publish_one(calls(dialogs(call("early", "b"))))
    assert other.version is not None
