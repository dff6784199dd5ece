"""An edge that is about to end: its dialogs over UDP go to another one, each once nothing is outstanding in it."""

import pytest

from notifier.adapters import liveness as liveness_module
from notifier.adapters.liveness import Liveness
from notifier.adapters.postgres import NotifierStore
from notifier.domain.outcome_policy import settle
from notifier.flows.ports import MissingNotifier
from tests.integration.calls import ALICE, EDGE, subscribe
from tests.integration.replicas import Connection, Core
from vedette.rpc.contract import Hello, Outcome
from vedette.sip.flow import Flow
from vedette.store.database import Database
from vedette.store.replicas import record

HEIR = ("edge-2", "127.0.0.1:8073", 100)


async def edges_of(sql: Connection) -> dict[str, int]:
    """How many dialogs each edge has, in both tables."""
    rows = await sql.fetch(
        "SELECT w.edge_instance AS edge, count(*) AS count FROM active_watchers AS w "
        "JOIN delivery AS d ON d.presentity_hash = w.presentity_hash AND d.dialog_id = w.dialog_id "
        "AND coalesce(d.edge_instance, '') = w.edge_instance GROUP BY 1"
    )
    return {row["edge"]: row["count"] for row in rows}


async def test_only_quiet_dialogs_over_udp_are_moved_while_the_edge_still_serves(
    core: Core, notifier: NotifierStore, sql: Connection
) -> None:
    quiet = await core.subscribe_one(subscribe(ALICE))
    for claim in await notifier.claim(50, 100):
        await notifier.apply([(Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200), settle(200, None))])
    await core.subscribe_one(subscribe(ALICE))
    [waiting] = await notifier.claim(50, 100)
    await core.subscribe_one(subscribe(ALICE, flow=Flow("tcp", "192.0.2.7", 5060, 3)))
    assert quiet.record is not None
    assert waiting.dialog_id != quiet.record.dialog_id
    assert await notifier.datagram_dialogs(EDGE) == 2

    assert await notifier.rehome(EDGE, *HEIR, gently=True) == 1
    assert await notifier.rehome(EDGE, *HEIR, gently=True) == 0
    assert await edges_of(sql) == {EDGE: 2, "edge-2": 1}
    assert await notifier.datagram_dialogs(EDGE) == 1

    outcome = Outcome(waiting.presentity_hash, waiting.dialog_id, waiting.cseq, 200)
    await notifier.apply([(outcome, settle(200, None))])
    assert await notifier.rehome(EDGE, *HEIR, gently=True) == 1
    assert await notifier.datagram_dialogs(EDGE) == 0
    assert await edges_of(sql) == {EDGE: 1, "edge-2": 2}

    assert await notifier.rehome(EDGE, *HEIR) == 1
    assert await edges_of(sql) == {"": 1, "edge-2": 2}


async def test_a_notifier_whose_lock_is_free_is_missing_and_one_that_is_silent_for_long(
    database: Database, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instance in ("me", "other"):
        await record(database, [Hello("notifier", instance, "192.0.2.1:1", "1", 1, "host", 1.0, ready=True)])
    liveness = Liveness(database, "me")
    # However long this takes, it has beaten just now.
    await sql.execute("UPDATE replica SET seen = clock_timestamp() + interval '1 hour'")
    assert await liveness.missing() == [MissingNotifier("other", "192.0.2.1:1", silent=False)]
    await sql.execute("UPDATE replica SET seen = clock_timestamp() - interval '10 seconds'")
    assert await liveness.missing() == [MissingNotifier("other", "192.0.2.1:1", silent=True)]
    await sql.execute("SELECT pg_advisory_lock(30309, hashtext('other'))")
    assert await liveness.missing() == [MissingNotifier("other", "192.0.2.1:1", silent=True, holds_lock=True)]
    monkeypatch.setattr(liveness_module, "LONG_SILENCE", 3600.0)
    assert await liveness.missing() == [], "who holds its lock may be slow"
