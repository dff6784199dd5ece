"""A standby that lacked the last moments has taken over: no number that a watcher may have seen is given out again.

`delivery.timeline` names the server on which the last NOTIFY was claimed. That this server is another one than that
is told here by changing the row; `tests/system/test_failover.py` has a standby promoted.
"""

from collections.abc import Sequence

import pytest

from notifier.adapters.postgres import NotifierStore
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Connection, Core
from vedette.rpc.contract import Outcome
from vedette.store.database import Database

MARGIN = 10_000
DIGEST = bytes(16)
ANOTHER_SERVER = "UPDATE delivery SET timeline = timeline - 1"


@pytest.fixture
def store(database: Database) -> NotifierStore:
    """That of a notifier."""
    return NotifierStore(database, "n", patience=40)


async def end(store: NotifierStore, claim: Claim, verdict: Verdict = Verdict.DELIVERED) -> None:
    """Its watcher has this document; with UNCHANGED it had it before."""
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200, None, DIGEST)
    await store.apply([(outcome, Settlement(verdict))])


async def claimed(store: NotifierStore) -> Sequence[Claim]:
    """What is owed now."""
    return await store.claim(50, 100)


async def test_a_dialog_of_the_server_before_leaps_over_what_that_may_have_given_out(
    core: Core, store: NotifierStore, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    (first,) = await claimed(store)
    assert (first.cseq, first.document_version) == (1, 0)
    await end(store, first)
    await sql.execute(ANOTHER_SERVER)
    await core.publish_one(publish())
    (leapt,) = await claimed(store)
    assert (leapt.cseq, leapt.document_version) == (first.cseq + 1 + MARGIN, first.document_version + 1 + MARGIN)
    assert await sql.fetchval("SELECT outstanding_cseq FROM delivery") == leapt.cseq
    await end(store, leapt)
    await core.publish_one(publish())
    (after,) = await claimed(store)
    assert (after.cseq, after.document_version) == (leapt.cseq + 1, leapt.document_version + 1), "once"


async def test_what_a_watcher_acknowledged_before_is_in_doubt(
    core: Core, store: NotifierStore, sql: Connection
) -> None:
    """It may have been shown something else since, which is lost: the old document is news to it."""
    await core.subscribe_one(subscribe(ALICE))
    (first,) = await claimed(store)
    await end(store, first)
    await core.publish_one(publish())
    (known,) = await claimed(store)
    assert known.brings_nothing(DIGEST)
    await end(store, known, Verdict.UNCHANGED)
    await sql.execute(ANOTHER_SERVER)
    await core.publish_one(publish())
    (doubtful,) = await claimed(store)
    assert not doubtful.brings_nothing(DIGEST)
    assert doubtful.whole
    await end(store, doubtful)
    await core.publish_one(publish())
    (after,) = await claimed(store)
    assert after.brings_nothing(DIGEST)


async def test_a_new_dialog_begins_at_the_beginning_on_any_timeline(
    core: Core, store: NotifierStore, sql: Connection
) -> None:
    timeline = await sql.fetchval("SELECT timeline_v1()")
    assert timeline > 0, "the server of the tests tells"
    await core.subscribe_one(subscribe(ALICE))
    assert await sql.fetchval("SELECT timeline FROM delivery") == timeline
    (first,) = await claimed(store)
    assert (first.cseq, first.document_version) == (1, 0)
