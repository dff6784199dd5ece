"""The table of bindings: what a REGISTER leaves there, copies and races of replicas (invariants 1 and 2)."""

import asyncio
from typing import Any

import msgspec
import pytest

from presence_core.adapters.registrations import RegistersHandler, RegistrationStore
from presence_core.flows.handle_register import RegisterFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import EDGE, EDGE_ADDRESS, FLOW
from tests.integration.replicas import POLICY, Sql
from tests.phone import token
from vedette.rpc.contract import RegisterBatch, RegisterCall, Reply, ReplyBatch
from vedette.store.database import Database

BOB = "sip:bob@example.net"


def register(*contacts: str, **fields: Any) -> RegisterCall:
    """A REGISTER of bob's phone."""
    call = RegisterCall(
        request_uri="sip:example.net",
        call_id="bob's phone",
        cseq=1,
        from_tag=token(),
        to_uri=BOB,
        client_branch=token("z9hG4bK"),
        contacts=list(contacts),
        expires="3600",
        path=[],
        user_agent="Phone/1.0",
        flow=FLOW,
        local_address="192.0.2.1:5060",
        edge_instance=EDGE,
        edge_address=EDGE_ADDRESS,
    )
    return msgspec.structs.replace(call, **fields)


class Registrar:
    """One replica of presence-core, as the edges call it."""

    def __init__(self, database: Database, max_contacts: int = 10) -> None:
        store = RegistrationStore(database, max_contacts=max_contacts)
        self.handler = RegistersHandler(RegisterFlow(store.register, POLICY, FlowLimits()))

    async def register(self, *calls: RegisterCall) -> list[Reply]:
        answer = await self.handler(msgspec.msgpack.encode(RegisterBatch(list(calls))))
        return msgspec.msgpack.decode(answer, type=ReplyBatch).replies

    async def contacts(self, call: RegisterCall) -> list[str]:
        """The URIs in the answer to one."""
        [reply] = await self.register(call)
        assert reply.status == 200, reply
        return sorted(value.partition(">")[0][1:] for _, value in reply.headers)


@pytest.fixture
def registrar(database: Database) -> Registrar:
    return Registrar(database)


async def test_a_binding_is_a_row_with_the_names_of_the_others(registrar: Registrar, sql: Sql) -> None:
    contact = '<sip:bob@192.0.2.7:5060>;q=0.7;+sip.instance="<urn:uuid:1>";reg-id=3;expires=600'
    await registrar.register(register(contact, path=["<sip:p1;lr>", "<sip:p2;lr>"], cseq=9))
    row = await sql.fetchrow(
        "SELECT username, domain, contact, received, socket, path, q::text, callid, cseq, user_agent, instance, "
        "reg_id, socket_info, edge_instance, round(extract(epoch FROM expires - last_modified)) AS seconds "
        "FROM location"
    )
    assert row is not None
    assert tuple(row) == (
        *("bob", "example.net", "sip:bob@192.0.2.7:5060", "sip:192.0.2.7:5060;transport=udp", "udp:192.0.2.1:5060"),
        *(
            "<sip:p1;lr>, <sip:p2;lr>",
            "0.7",
            "bob's phone",
            9,
            "Phone/1.0",
            "<urn:uuid:1>",
            3,
            "udp|192.0.2.7|5060|0",
        ),
        *(EDGE, 600),
    )


async def test_one_batch_of_many_users_and_one_user_twice(registrar: Registrar, sql: Sql) -> None:
    calls = [register(f"<sip:u{n}@192.0.2.7>", to_uri=f"sip:u{n}@example.net") for n in range(20)]
    twice = [register("<sip:bob@192.0.2.7>", cseq=1), register("<sip:bob@192.0.2.8>", cseq=2)]
    replies = await registrar.register(*calls[:10], twice[0], *calls[10:], twice[1])
    assert [len(reply.headers) for reply in replies] == [1] * 21 + [2]
    assert await sql.fetchval("SELECT count(*) FROM location") == 22


async def test_copies_at_several_replicas_have_one_effect(database: Database, sql: Sql) -> None:
    replicas = [Registrar(database) for _ in range(3)]
    call = register("<sip:bob@192.0.2.7>", "<sip:bob@192.0.2.8>")
    found = await asyncio.gather(*(replica.contacts(call) for replica in replicas * 3))
    assert {tuple(contacts) for contacts in found} == {("sip:bob@192.0.2.7", "sip:bob@192.0.2.8")}
    assert await sql.fetchval("SELECT count(*) FROM location") == 2


async def test_replicas_that_race_lose_nothing_and_keep_the_limit(database: Database, sql: Sql) -> None:
    replicas = [Registrar(database, max_contacts=5) for _ in range(3)]
    calls = [register(f"<sip:bob@192.0.2.{n}>", call_id=f"phone {n}") for n in range(1, 13)]
    found = await asyncio.gather(*(replicas[n % 3].register(call) for n, call in enumerate(calls)))
    assert sorted(reply.status for [reply] in found) == [200] * 5 + [403] * 7
    assert await sql.fetchval("SELECT count(*) FROM location") == 5


async def test_what_was_removed_stays_removed_for_late_copies(registrar: Registrar, sql: Sql) -> None:
    first = register("<sip:bob@192.0.2.7>", cseq=1)
    assert len(await registrar.contacts(first)) == 1
    end = register("*", expires="0", cseq=2)
    assert await registrar.contacts(end) == []
    assert [reply.status for reply in await registrar.register(first)] == [500]
    assert await registrar.contacts(end) == []
    assert await sql.fetchval("SELECT count(*) FROM location WHERE expires > clock_timestamp()") == 0


async def test_a_row_that_cannot_be_stored_refuses_its_request_alone(registrar: Registrar) -> None:
    replies = await registrar.register(
        register("<sip:a@192.0.2.7>", to_uri="sip:a@example.net"),
        register("<sip:b@192.0.2.7>", to_uri="sip:b@example.net", call_id="\0"),
        register("<sip:c@192.0.2.7>", to_uri="sip:c@example.net"),
    )
    assert [reply.status for reply in replies] == [200, 500, 200]
