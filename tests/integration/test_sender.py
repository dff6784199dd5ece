"""handle_publish(sender): the watcher that made a change is not told of it; all others are."""

import pytest

from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Core, DialogStore, Sql, answer_notifies
from tests.phone import pidf

SENDER = "sip:bob@192.0.2.7:5060"


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


async def told(notifier: DialogStore) -> set[bytes]:
    """The dialogs that are owed a NOTIFY; their watchers take it."""
    return await answer_notifies(notifier, 200)


async def two_watchers(core: Core) -> tuple[bytes, bytes]:
    """Bob with the sender's Contact, and Carol."""
    bob = await core.subscribe_one(subscribe(contacts=[f"<{SENDER};transport=udp>"]))
    carol = await core.subscribe_one(
        subscribe(from_uri="sip:carol@example.net", contacts=["<sip:carol@192.0.2.8:5060>"])
    )
    return bob.dialog_id, carol.dialog_id


@pytest.mark.parametrize("written", [SENDER, f"<{SENDER}>", f'"Bob" <{SENDER};line=2>;x=1'])
async def test_the_sender_is_not_told_of_its_own_change(core: Core, notifier: DialogStore, written: str) -> None:
    bob, carol = await two_watchers(core)
    assert await told(notifier) == {bob, carol}
    created = await core.publish_one(publish(sender=written))
    assert await told(notifier) == {carol}
    changed = await core.publish_one(publish(etag=created.etag, body=pidf(ALICE, note="2"), sender=written))
    assert changed.status == 200
    assert await told(notifier) == {carol}
    await core.publish_one(publish(etag=changed.etag, expires=0, sender=written))
    assert await told(notifier) == {carol}
    await core.publish_one(publish())
    assert await told(notifier) == {bob, carol}, "a change of somebody else is told to both"


async def test_a_sender_that_lags_behind_is_told_with_what_it_has_missed(core: Core, notifier: DialogStore) -> None:
    bob, carol = await two_watchers(core)
    await told(notifier)
    await core.publish_one(publish())
    await core.publish_one(publish(sender=SENDER))
    assert await told(notifier) == {bob, carol}


async def test_a_sender_that_watches_nothing_changes_nothing(core: Core, notifier: DialogStore) -> None:
    bob, carol = await two_watchers(core)
    await told(notifier)
    await core.publish_one(publish(sender="sip:dave@192.0.2.9"))
    assert await told(notifier) == {bob, carol}


async def test_the_sender_is_stored(core: Core, sql: Sql) -> None:
    await core.publish_one(publish(sender=f"<{SENDER}>"))
    assert await sql.fetchval("SELECT sender FROM presentity") == SENDER
