"""A new dialog takes the place of those that its watcher has lost, and of no other (issue: handle_subscribe)."""

from typing import Any

import pytest

from tests.integration.calls import ALICE, in_dialog, publish, subscribe
from tests.integration.replicas import Core, DialogStore, Sql, answer_notifies

CONTACT = "<sip:bob@192.0.2.7:5060>"
INSTANCE = CONTACT + ';+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
OTHER_INSTANCE = CONTACT + ';+sip.instance="<urn:uuid:00000000-7dec-11d0-a765-00a0c91e6bf6>"'


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


async def alive(sql: Sql) -> set[bytes]:
    return {row["dialog_id"] for row in await sql.fetch("SELECT dialog_id FROM active_watchers WHERE ended IS NULL")}


async def counted(sql: Sql) -> int:
    return int(await sql.fetchval("SELECT watchers FROM presentity_state WHERE event = 'presence'"))


async def test_the_same_instance_replaces_its_dialog_without_a_word(core: Core, sql: Sql) -> None:
    first = await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    second = await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    assert await alive(sql) == {second.dialog_id}
    (lost,) = await sql.fetch("SELECT * FROM active_watchers WHERE ended IS NOT NULL")
    assert (lost["dialog_id"], lost["status"], lost["reason"]) == (first.dialog_id, 3, "giveup")
    assert [row["dialog_id"] for row in await sql.fetch("SELECT dialog_id FROM delivery")] == [second.dialog_id]
    assert await counted(sql) == 1


async def test_so_it_does_where_both_are_in_one_batch(core: Core, sql: Sql) -> None:
    other = subscribe("sip:other@example.com", contacts=[INSTANCE])
    answers = await core.subscribe(subscribe(contacts=[INSTANCE]), other, subscribe(contacts=[INSTANCE]))
    assert [answer.verdict for answer in answers] == ["created"] * 3
    assert await alive(sql) == {answers[1].dialog_id, answers[2].dialog_id}
    owed = {row["dialog_id"] for row in await sql.fetch("SELECT dialog_id FROM delivery")}
    assert owed == await alive(sql)


async def test_a_replaced_dialog_gets_481(core: Core) -> None:
    call = subscribe(contacts=[INSTANCE])
    first = await core.subscribe_one(call)
    await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    assert (await core.subscribe_one(in_dialog(call, first.to_tag, cseq=2))).status == 481


async def test_the_same_call_id_and_tag_with_a_higher_cseq_replaces_the_dialog(core: Core, sql: Sql) -> None:
    names: dict[str, Any] = {"call_id": "c-1", "from_tag": "f-1"}
    await core.subscribe_one(subscribe(cseq=1, **names))
    second = await core.subscribe_one(subscribe(cseq=2, **names))
    assert await alive(sql) == {second.dialog_id}
    assert await counted(sql) == 1


async def test_sub_22_a_fork_kills_no_live_dialog(core: Core, sql: Sql) -> None:
    """Branches of one forked request differ in the branch that reaches us; Call-ID, tag and CSeq are the same."""
    names: dict[str, Any] = {"call_id": "c-1", "from_tag": "f-1", "contacts": [INSTANCE]}
    answers = [await core.subscribe_one(subscribe(cseq=1, **names)) for _ in range(3)]
    assert {answer.verdict for answer in answers} == {"created"}
    assert await alive(sql) == {answer.dialog_id for answer in answers}
    assert await counted(sql) == 3


async def test_a_request_that_was_overtaken_kills_no_newer_dialog(core: Core, sql: Sql) -> None:
    names: dict[str, Any] = {"call_id": "c-1", "from_tag": "f-1", "contacts": [INSTANCE]}
    newer = await core.subscribe_one(subscribe(cseq=2, **names))
    await core.subscribe_one(subscribe(cseq=1, **names))
    assert newer.dialog_id in await alive(sql)


@pytest.mark.parametrize(
    "other",
    [
        {"contacts": [OTHER_INSTANCE]},
        {"contacts": [CONTACT]},
        {"contacts": [INSTANCE], "from_uri": "sip:carol@example.net"},
        {"contacts": [INSTANCE], "from_uri": "sip:bob@example.org"},
        {"contacts": [INSTANCE], "event": "presence;id=7"},
        {"contacts": [INSTANCE], "request_uri": "sip:dave@example.com"},
    ],
)
async def test_another_phone_watcher_id_or_presentity_replaces_nothing(
    core: Core, sql: Sql, other: dict[str, Any]
) -> None:
    await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    await core.subscribe_one(subscribe(**other))
    assert len(await alive(sql)) == 2


async def test_phones_that_name_no_instance_replace_nothing(core: Core, sql: Sql) -> None:
    for _ in range(3):
        await core.subscribe_one(subscribe(contacts=[CONTACT]))
    assert len(await alive(sql)) == 3


async def test_a_fetch_replaces_nothing(core: Core, sql: Sql) -> None:
    await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    await core.subscribe_one(subscribe(contacts=[INSTANCE], expires=0))
    assert len(await alive(sql)) == 1


async def test_a_refresh_and_a_replacement_in_one_batch_leave_no_half_dialog(core: Core, sql: Sql) -> None:
    call = subscribe(contacts=[INSTANCE])
    first = await core.subscribe_one(call)
    await core.subscribe(in_dialog(call, first.to_tag, cseq=2), subscribe(contacts=[INSTANCE]))
    owed = {row["dialog_id"] for row in await sql.fetch("SELECT dialog_id FROM delivery")}
    assert owed == await alive(sql)
    assert await counted(sql) == len(owed)


async def test_a_replaced_dialog_is_told_of_no_change(core: Core, notifier: DialogStore) -> None:
    await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    second = await core.subscribe_one(subscribe(contacts=[INSTANCE]))
    await core.publish_one(publish(ALICE))
    assert await answer_notifies(notifier, 200) == {second.dialog_id}
