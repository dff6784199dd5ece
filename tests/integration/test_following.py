"""Dialogs follow a client that moved and registered anew, and no other device (decision 0024)."""

from typing import Any

import pytest

from notifier.adapters.bindings import BindingTable
from notifier.adapters.postgres import NotifierStore
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict, settle
from tests.integration.calls import publish, subscribe
from tests.integration.replicas import Core, DialogStore, Sql
from tests.integration.test_registrations import Registrar, register
from vedette.rpc.contract import FLOW_GONE, Outcome
from vedette.sip.flow import Flow
from vedette.store.database import Database
from vedette.store.registrations import Connection

HOME, AWAY = "sip:bob@192.0.2.7:5060", "sip:bob@198.51.100.9:5060"
OLD, NEW = Flow("udp", "192.0.2.7", 5060), Flow("udp", "198.51.100.9", 5060)
INSTANCE, OTHER = (f'+sip.instance="<urn:uuid:{number}>"' for number in (1, 2))
SOON = 10


@pytest.fixture
def registrar(database: Database) -> Registrar:
    return Registrar(database)


@pytest.fixture
def table(database: Database) -> BindingTable:
    return BindingTable(database)


async def ended(notifier: DialogStore, claims: list[Claim], settlement: Settlement) -> None:
    await notifier.apply([(Outcome(c.presentity_hash, c.dialog_id, c.cseq, 200), settlement) for c in claims])


async def watched(core: Core, notifier: DialogStore, contact: str, flow: Flow = OLD, **fields: Any) -> bytes:
    """The id of a dialog of bob's whose first NOTIFY was answered."""
    answer = await core.subscribe_one(subscribe(contacts=[contact], flow=flow, **fields))
    await ended(notifier, await notifier.claim(SOON, SOON), Settlement(Verdict.DELIVERED))
    return answer.dialog_id


async def place(sql: Sql) -> tuple[str, str, str]:
    """Where the only dialog leads."""
    row = await sql.fetchrow("SELECT contact, socket_info, edge_instance FROM active_watchers")
    assert row is not None
    return tuple(row)


@pytest.mark.parametrize(
    ("before", "contact", "after", "fields"),
    [
        # the same instance
        (None, f"<{HOME}>;{INSTANCE}", f"<{AWAY}>;{INSTANCE}", {"call_id": "another"}),
        # the same registration, by its Call-ID
        (f"<{HOME}>", f"<{HOME}>", f"<{AWAY}>", {}),
        # a user part that the device has made
        (None, "<sip:bob-0x5563ee366da0@192.0.2.7>", "<sip:bob-0x5563ee366da0@198.51.100.9>", {"call_id": "another"}),
    ],
)
async def test_a_dialog_follows_its_device(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, sql: Sql,
    before: str | None, contact: str, after: str, fields: dict[str, str],
) -> None:  # fmt: skip
    if before is not None:
        await registrar.register(register(before, flow=OLD))
    dialog = await watched(core, notifier, contact)
    await table.follow(SOON)
    await registrar.register(register(after, flow=NEW, cseq=2, **fields))
    assert await table.follow(SOON) == (1, False)
    assert await place(sql) == (after.partition(">")[0][1:], "udp|198.51.100.9|5060|0", "edge-1")
    assert await table.follow(SOON) == (0, False)
    # Nothing is owed that it has, and what comes goes by the new way.
    assert await notifier.claim(SOON, SOON) == []
    await core.publish_one(publish())
    [claim] = await notifier.claim(SOON, SOON)
    [record] = await notifier.dialogs([(claim.presentity_hash, dialog)])
    assert (record.contact, record.flow, record.revision) == (after.partition(">")[0][1:], NEW, claim.revision)


@pytest.mark.parametrize(
    ("contact", "after", "fields"),
    [
        (f"<{HOME}>;{INSTANCE}", f"<{AWAY}>;{OTHER}", {}),
        (f"<{HOME}>;{INSTANCE}", f"<{AWAY}>", {}),
        (f"<{HOME}>", f"<{AWAY}>;{OTHER}", {"call_id": "another"}),
        (f"<{HOME}>", f"<{AWAY}>", {"call_id": "another"}),
        ("<sip:reception@192.0.2.7>", "<sip:reception@198.51.100.9>", {"call_id": "another"}),
        (f"<{HOME}>;{INSTANCE}", f"<{AWAY}>;{INSTANCE}", {"to_uri": "sip:carol@example.net"}),
        (f"<{HOME}>;{INSTANCE}", f"<{AWAY}>;{INSTANCE}", {"path": ["<sip:proxy.example.net;lr>"]}),
        (
            f"<{HOME}>;{INSTANCE}",
            f"<{AWAY};transport=tcp>;{INSTANCE}",
            {"flow": Flow("tcp", "198.51.100.9", 40000, 3)},
        ),
    ],
    ids=["instance", "none named", "one named", "call-id", "user part", "user", "proxy", "transport"],
)
async def test_a_dialog_is_never_given_to_another_device(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, sql: Sql,
    contact: str, after: str, fields: dict[str, object],
) -> None:  # fmt: skip
    await watched(core, notifier, contact)
    before = await place(sql)
    await registrar.register(register(after, **{"flow": NEW, **fields}))
    assert await table.follow(SOON) == (0, False)
    assert await place(sql) == before
    assert await sql.fetchval("SELECT count(*) FROM location WHERE follows IS NOT NULL") == 0


async def test_a_dialog_with_a_route_set_is_the_proxys(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable
) -> None:
    await watched(core, notifier, f"<{HOME}>;{INSTANCE}", record_route=["<sip:proxy.example.net;lr>"])
    await registrar.register(register(f"<{AWAY}>;{INSTANCE}", flow=NEW))
    assert await table.follow(SOON) == (0, False)


async def test_what_was_outstanding_is_sent_again_the_new_way_and_its_late_outcome_is_nothing(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, sql: Sql
) -> None:
    await core.subscribe_one(subscribe(contacts=[f"<{HOME}>;{INSTANCE}"], flow=OLD))
    first = await notifier.claim(SOON, SOON)
    await registrar.register(register(f"<{AWAY}>;{INSTANCE}", flow=NEW))
    assert await table.follow(SOON) == (1, False)
    [again] = await notifier.claim(SOON, SOON)
    assert again.cseq > first[0].cseq
    await ended(notifier, first, Settlement(Verdict.ENDED, reason="timeout"))
    assert await sql.fetchval("SELECT status FROM active_watchers") == 1


async def test_out_12_a_browser_whose_connection_is_gone_has_what_it_is_owed_as_soon_as_it_registers(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable
) -> None:
    contact = f"<sip:bob@a.invalid;transport=ws>;{INSTANCE}"
    await watched(core, notifier, contact, Flow("wss", "192.0.2.7", 40000, 7))
    await core.publish_one(publish())
    [claim] = await notifier.claim(SOON, SOON)
    gone = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, FLOW_GONE)
    await notifier.apply([(gone, settle(FLOW_GONE, None))])
    await core.publish_one(publish())
    assert await notifier.claim(SOON, SOON) == []
    await registrar.register(register(contact, flow=Flow("wss", "192.0.2.7", 40001, 8), edge_instance="edge-2"))
    assert await table.follow(SOON) == (1, False)
    [owed] = await notifier.claim(SOON, SOON)
    [record] = await notifier.dialogs([(owed.presentity_hash, owed.dialog_id)])
    assert (record.flow.connection, record.edge_instance) == (8, "edge-2")


async def test_out_06_a_flow_that_is_kept_up_beside_another_keeps_its_dialogs(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, sql: Sql
) -> None:
    await registrar.register(register(f"<{HOME}>;{INSTANCE};reg-id=1", flow=OLD))
    await watched(core, notifier, f"<{HOME}>;{INSTANCE}")
    await table.follow(SOON)
    await registrar.register(register(f"<{AWAY}>;{INSTANCE};reg-id=2", flow=NEW, cseq=2))
    assert await table.follow(SOON) == (0, False)
    assert (await place(sql))[0] == HOME


async def test_more_dialogs_than_one_call_takes_all_follow(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, sql: Sql
) -> None:
    for number in range(7):
        await core.subscribe_one(subscribe(f"sip:u{number}@example.com", contacts=[f"<{HOME}>;{INSTANCE}"], flow=OLD))
    await registrar.register(register(f"<{AWAY}>;{INSTANCE}", flow=NEW))
    assert [await table.follow(3) for _ in range(4)] == [(3, True), (3, True), (1, False), (0, False)]
    assert await sql.fetchval("SELECT count(*) FROM active_watchers WHERE contact = $1", AWAY) == 7


async def test_a_presentity_that_is_busy_comes_next_time(
    core: Core, notifier: NotifierStore, registrar: Registrar, table: BindingTable, database: Database
) -> None:
    await watched(core, notifier, f"<{HOME}>;{INSTANCE}")
    await registrar.register(register(f"<{AWAY}>;{INSTANCE}", flow=NEW))

    async def held(connection: Connection) -> None:
        await connection.execute("SELECT FROM presentity_state FOR UPDATE")
        assert await table.follow(SOON) == (0, False)

    await database.transact(held)
    assert await table.follow(SOON) == (1, False)


async def test_bindings_are_swept_when_they_have_been_over_for_a_while(
    registrar: Registrar, table: BindingTable, sql: Sql
) -> None:
    await registrar.register(register(f"<{HOME}>", f"<{AWAY}>;expires=60"))
    await sql.execute("UPDATE location SET expires = clock_timestamp() - interval '90 s' WHERE contact = $1", AWAY)
    assert await table.sweep_bindings(100, SOON) == 0
    assert await table.sweep_bindings(80, SOON) == 1
    assert await registrar.contacts(register()) == [HOME]
