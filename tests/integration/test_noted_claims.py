"""What claims have marked is noted, so that marks nobody clears are found without a look at all dialogs."""

from notifier.adapters.postgres import NotifierStore
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import settle
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Connection, Core, let_marks_run_out
from tests.vectors import ROOT
from vedette.rpc.contract import Outcome
from vedette.store.database import Database

CAROL = "sip:carol@example.com"
CLEAR = "SELECT cleared FROM clear_marks_v2($1, 100, '40 s', '0 s')"
READ = "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'delivery'"


async def test_marks_are_found_without_reading_other_dialogs(core: Core, database: Database, sql: Connection) -> None:
    for _ in range(20):
        await core.subscribe_one(subscribe(ALICE))
    notifier = NotifierStore(database, "n", patience=40)
    claims = await notifier.claim(50, 100)
    await notifier.apply([(_answered(claim), settle(200, None, end_sub_on_timeout=True)) for claim in claims])
    await let_marks_run_out(sql)
    assert await notifier.clear_marks([], 100, 0.0) == 0
    await core.subscribe_one(subscribe(CAROL))
    assert len(await notifier.claim(50, 100)) == 1
    async with sql.transaction():
        before = await sql.fetchrow(READ)
        assert await sql.fetchval(CLEAR, ["n"]) == 1
        after = await sql.fetchrow(READ)
    assert before
    assert after
    assert [now - then for then, now in zip(before, after, strict=True)] == [0, 2], "found once, and changed once"


async def test_a_claim_whose_notifies_were_answered_is_forgotten_when_its_time_is_over(
    core: Core, database: Database, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    notifier = NotifierStore(database, "n", patience=40)
    (claim,) = await notifier.claim(50, 100)
    await notifier.apply([(_answered(claim), settle(200, None, end_sub_on_timeout=True))])
    assert await notifier.clear_marks([], 100, 0.0) == 0
    assert await sql.fetchval("SELECT count(*) FROM notify_claim") == 1
    await let_marks_run_out(sql)
    assert await notifier.clear_marks([], 100, 0.0) == 0
    assert await sql.fetchval("SELECT count(*) FROM notify_claim") == 0
    assert await notifier.claim(50, 100) == [], "nothing is owed"


async def test_a_claim_that_marked_nothing_is_not_noted(core: Core, database: Database, sql: Connection) -> None:
    await core.publish_one(publish())
    notifier = NotifierStore(database, "n", patience=40)
    await sql.execute(
        "INSERT INTO change_event (presentity_hash, presentity_uri, event, due) "
        "SELECT presentity_hash, presentity_uri, event, now() FROM presentity_state"
    )
    assert await notifier.claim(50, 100) == []
    assert await sql.fetchval("SELECT count(*) FROM change_event") == 0
    assert await sql.fetchval("SELECT count(*) FROM notify_claim") == 0


async def test_marks_are_found_behind_more_claims_than_are_looked_at_once(
    core: Core, database: Database, sql: Connection
) -> None:
    await core.subscribe_one(subscribe(ALICE))
    notifier = NotifierStore(database, "n", patience=40)
    assert len(await notifier.claim(50, 100)) == 1
    await sql.execute(
        "INSERT INTO notify_claim (notifier, claim, until, presentity_hashes, dialog_ids) "
        "SELECT 'n', n, clock_timestamp(), '{1}', ARRAY['\\x01'::bytea] FROM generate_series(2, 251) AS n"
    )
    assert await notifier.clear_marks(["n"], 100, 0.0) == 1
    assert await notifier.have_marks(["n"]) == set()


async def test_more_marks_than_are_given_up_at_once_are_all_given_up(core: Core, database: Database) -> None:
    for _ in range(7):
        await core.subscribe_one(subscribe(ALICE))
    notifier = NotifierStore(database, "n", patience=40)
    assert len(await notifier.claim(50, 100)) == 7
    assert [await notifier.clear_marks(["n"], 3, 0.0) for _ in range(4)] == [3, 3, 1, 0]
    assert await notifier.have_marks(["n"]) == set()
    assert len(await notifier.claim(50, 100)) == 7


async def test_what_the_last_release_has_claimed_is_noted(core: Core, database: Database, sql: Connection) -> None:
    await core.subscribe_one(subscribe(ALICE))
    rows = await sql.fetch("SELECT * FROM claim_notifies_v1('old', 50, 100, '40 s')")
    assert [row["cseq"] for row in rows] == [1]
    notifier = NotifierStore(database, "n", patience=40)
    assert await notifier.have_marks(["old", "n"]) == {"old"}
    assert await notifier.clear_marks(["old"], 100, 0.0) == 1
    assert [claim.cseq for claim in await notifier.claim(50, 100)] == [2]


async def test_what_was_marked_before_claims_were_noted_is_given_up(
    core: Core, database: Database, sql: Connection
) -> None:
    for presentity in (ALICE, CAROL):
        await core.subscribe_one(subscribe(presentity))
    notifier = NotifierStore(database, "n", patience=40)
    assert len(await notifier.claim(50, 100)) == 2
    await sql.execute("DELETE FROM notify_claim")
    (migration,) = (ROOT / "migrations").glob("*_pre_noted_marks.sql")
    _, lock, rest = migration.read_text(encoding="utf-8").partition("LOCK TABLE")
    async with sql.transaction():
        await sql.execute(lock + rest)
    assert await notifier.clear_marks(["n"], 100, 0.0) == 2


def _answered(claim: Claim) -> Outcome:
    return Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200, None)
