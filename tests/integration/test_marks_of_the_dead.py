"""The marks of a dead notifier on a presentity that others change all the time."""

from notifier.adapters.postgres import NotifierStore
from tests.integration.calls import ALICE, subscribe
from tests.integration.replicas import Connection, Core
from vedette.store.database import Database


async def test_marks_that_were_passed_over_are_known_to_be_left(
    core: Core, database: Database, sql: Connection
) -> None:
    """`clear_marks` waits for no lock, so that none is held up; what it left has to be looked for again."""
    for presentity in (ALICE, "sip:carol@example.com"):
        await core.subscribe_one(subscribe(presentity))
    dead = NotifierStore(database, "dead", patience=40)
    assert len(await dead.claim(50, 100)) == 2
    alive = NotifierStore(database, "alive", patience=40)
    assert await alive.have_marks(["alive", "dead"]) == {"dead"}
    async with sql.transaction():
        await sql.execute("SELECT FROM presentity_state WHERE presentity_uri = $1 FOR NO KEY UPDATE", ALICE)
        assert await alive.clear_marks(["dead"], 100, 0.0) == 1
        assert await alive.clear_marks(["dead"], 100, 0.0) == 0
        assert await alive.have_marks(["alive", "dead"]) == {"dead"}
    assert await alive.clear_marks(["dead"], 100, 0.0) == 1
    assert await alive.have_marks(["alive", "dead"]) == set()
