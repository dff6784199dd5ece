"""A claim whose answer was lost: the notifier asks again and has what it had marked, with the CSeqs of then."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from notifier.adapters.postgres import NotifierStore
from notifier.domain.claims import Claim
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Connection, Core
from tests.wait import until
from vedette.store.database import Database, StoreUndecidedError

CAROL = "sip:carol@example.com"
RAW = "SELECT * FROM claim_notifies_v2('n', 50, 100, '40 s', $1, '{}')"


class Losing(Database):
    """Carries a call out and loses its answer, once where `loses` is set."""

    loses = False

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows; StoreUndecidedError where they are lost."""
        rows = await super().fetch(query, *arguments)
        if self.loses:
            self.loses = False
            raise StoreUndecidedError("lost")
        return rows


@pytest.fixture
async def losing(database_url: str) -> AsyncIterator[Losing]:
    """A pool of the notifier `n`."""
    opened = Losing(database_url, size=2, name="n")
    yield opened
    await opened.close()


@pytest.fixture
def store(losing: Losing) -> NotifierStore:
    """Its store."""
    return NotifierStore(losing, "n", patience=40)


async def lose(store: NotifierStore, losing: Losing, times: int = 1) -> None:
    """Claim, and lose the answer."""
    for _ in range(times):
        losing.loses = True
        with pytest.raises(StoreUndecidedError):
            await store.claim(50, 100)
    assert store.misses_claims


def marks(claims: list[Claim]) -> list[tuple[str, int]]:
    """Whom the claims are about, and with which CSeqs."""
    return sorted((claim.presentity_uri, claim.cseq) for claim in claims)


async def outstanding(sql: Connection) -> list[tuple[str, int]]:
    """The same, of what is marked in the database."""
    rows = await sql.fetch("SELECT presentity_uri, outstanding_cseq FROM delivery WHERE outstanding_cseq IS NOT NULL")
    return sorted((row[0], row[1]) for row in rows)


async def test_who_lost_the_answer_of_a_claim_has_what_it_had_marked(
    core: Core, store: NotifierStore, losing: Losing, sql: Connection
) -> None:
    for presentity in (ALICE, CAROL):
        await core.subscribe_one(subscribe(presentity))
    await lose(store, losing)
    marked = await outstanding(sql)
    assert len(marked) == 2
    claims = await store.claim(50, 100)
    assert marks(claims) == marked == await outstanding(sql)
    assert not store.misses_claims
    assert not any(claim.brings_nothing(b"") for claim in claims), "what the watchers have is in doubt"
    assert await store.claim(50, 100) == []


async def test_an_answer_that_is_lost_again_is_asked_for_again(
    core: Core, store: NotifierStore, losing: Losing, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    await lose(store, losing, 3)
    claims = await store.claim(50, 100)
    assert marks(claims) == await outstanding(sql)
    assert len(claims) == 1


async def test_a_lost_claim_that_marked_nothing_is_a_claim_like_any_other(
    core: Core, store: NotifierStore, losing: Losing
) -> None:
    await lose(store, losing)
    await core.subscribe_one(subscribe(ALICE))
    assert [claim.presentity_uri for claim in await store.claim(50, 100)] == [ALICE]


async def test_a_lost_claim_that_comes_after_it_was_asked_for_does_nothing(
    core: Core, store: NotifierStore, losing: Losing, sql: Connection
) -> None:
    await lose(store, losing)
    assert await store.claim(50, 100) == []
    await core.subscribe_one(subscribe(ALICE))
    assert await sql.fetch(RAW, 1) == []
    assert await outstanding(sql) == []
    assert len(await store.claim(50, 100)) == 1
    assert [tuple(row) for row in await sql.fetch("SELECT notifier, claim FROM claim_fence")] == [("n", 2)]


async def test_a_lost_claim_that_is_still_under_way_is_waited_for(
    core: Core, store: NotifierStore, losing: Losing, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    async with sql.transaction():
        (row,) = await sql.fetch(RAW, 1)
        store._lost = [next(store._claims)]
        asking = asyncio.create_task(store.claim(50, 100))

        async def waits() -> bool:
            return bool(
                await sql.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            )

        await until(waits, "the second claim waits for the first one")
    assert [(claim.dialog_id, claim.cseq) for claim in await asking] == [(row["dialog_id"], row["cseq"])]


async def test_a_state_that_came_meanwhile_is_in_what_was_claimed(
    core: Core, store: NotifierStore, losing: Losing, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    await lose(store, losing)
    published = await core.publish_one(publish())
    (claim,) = await store.claim(50, 100)
    assert claim.version == published.version
    assert await sql.fetchval("SELECT sent_version FROM delivery") == published.version
    assert await store.claim(50, 100) == [], "nothing is owed besides"


async def test_what_others_claim_or_claimed_is_not_asked_for(
    core: Core, store: NotifierStore, losing: Losing, database: Database
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    assert len(await NotifierStore(database, "other", patience=40).claim(50, 100)) == 1
    await core.subscribe_one(subscribe(CAROL))
    await lose(store, losing)
    assert [claim.presentity_uri for claim in await store.claim(50, 100)] == [CAROL]


async def test_marks_that_were_given_up_meanwhile_are_not_handed_out(
    core: Core, store: NotifierStore, losing: Losing, database: Database
) -> None:
    """Another notifier has taken over: the CSeq of the lost claim is no longer to be used."""
    await core.subscribe_one(subscribe(ALICE))
    await lose(store, losing)
    other = NotifierStore(database, "other", patience=40)
    assert await other.clear_marks(["n"], 100, 0.0) == 1
    (taken,) = await other.claim(50, 100)
    assert await store.claim(50, 100) == []
    assert taken.cseq > 1
