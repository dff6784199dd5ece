"""handle_publish(sender): the watcher that made a change is not told of it; all others are."""

import pytest

from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Answer, Connection, Core
from tests.phone import pidf

SENDER = "sip:bob@192.0.2.7:5060"


async def claims(sql: Connection) -> set[bytes]:
    rows = await sql.fetch("SELECT * FROM claim_notifies_v1('n', 100, 100, interval '40 s')")
    return {row["dialog_id"] for row in rows}


async def delivered(sql: Connection) -> None:
    """As if every NOTIFY that is under way had been answered 200."""
    await sql.fetch(
        "SELECT * FROM apply_outcomes_v1((SELECT array_agg(presentity_hash ORDER BY dialog_id) FROM delivery), "
        "(SELECT array_agg(dialog_id ORDER BY dialog_id) FROM delivery), "
        "(SELECT array_agg(local_cseq ORDER BY dialog_id) FROM delivery), "
        "(SELECT array_agg('delivered'::text) FROM delivery), (SELECT array_agg(0::float8) FROM delivery), "
        "(SELECT array_agg(''::text) FROM delivery))"
    )


def dialog_id(answer: Answer) -> bytes:
    assert answer.record is not None
    return answer.record.dialog_id


async def two_watchers(core: Core) -> tuple[bytes, bytes]:
    """Bob with the sender's Contact, and Carol."""
    bob = await core.subscribe_one(subscribe(contacts=[f"<{SENDER};transport=udp>"]))
    carol = await core.subscribe_one(
        subscribe(from_uri="sip:carol@example.net", contacts=["<sip:carol@192.0.2.8:5060>"])
    )
    return dialog_id(bob), dialog_id(carol)


@pytest.mark.parametrize("written", [SENDER, f"<{SENDER}>", f'"Bob" <{SENDER};line=2>;x=1'])
async def test_the_sender_is_not_told_of_its_own_change(core: Core, sql: Connection, written: str) -> None:
    bob, carol = await two_watchers(core)
    assert await claims(sql) == {bob, carol}
    await delivered(sql)
    created = await core.publish_one(publish(sender=written))
    assert await claims(sql) == {carol}
    await delivered(sql)
    changed = await core.publish_one(publish(etag=created.etag, body=pidf(ALICE, note="2"), sender=written))
    assert changed.status == 200
    assert await claims(sql) == {carol}
    await delivered(sql)
    await core.publish_one(publish(etag=changed.etag, expires=0, sender=written))
    assert await claims(sql) == {carol}
    await delivered(sql)
    await core.publish_one(publish())
    assert await claims(sql) == {bob, carol}, "a change of somebody else is told to both"


async def test_a_sender_that_lags_behind_is_told_with_what_it_has_missed(core: Core, sql: Connection) -> None:
    bob, carol = await two_watchers(core)
    await claims(sql)
    await delivered(sql)
    await core.publish_one(publish())
    await core.publish_one(publish(sender=SENDER))
    assert await claims(sql) == {bob, carol}


async def test_a_sender_that_watches_nothing_changes_nothing(core: Core, sql: Connection) -> None:
    bob, carol = await two_watchers(core)
    await claims(sql)
    await delivered(sql)
    await core.publish_one(publish(sender="sip:dave@192.0.2.9"))
    assert await claims(sql) == {bob, carol}


async def test_the_sender_is_stored(core: Core, sql: Connection) -> None:
    await core.publish_one(publish(sender=f"<{SENDER}>"))
    assert await sql.fetchval("SELECT sender FROM presentity") == SENDER
