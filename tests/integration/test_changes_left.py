"""A claim takes so many changes and no more; the notifier can ask whether it has left some."""

from notifier.adapters.postgres import NotifierStore
from tests.integration.calls import ALICE, subscribe
from tests.integration.replicas import Core
from vedette.store.database import Database


async def test_changes_that_a_claim_has_left_are_seen_until_another_has_them(core: Core, database: Database) -> None:
    for _ in range(3):
        await core.subscribe_one(subscribe(ALICE))
    notifier = NotifierStore(database, "n", patience=40)
    assert await notifier.changes_left()
    assert len(await notifier.claim(2, 100)) == 2
    assert await notifier.changes_left()
    assert len(await notifier.claim(2, 100)) == 1
    assert not await notifier.changes_left()
