"""Watchers that are reached by a name, on the wire, with a name server of the test's own (RFC 3263; row TRN-23)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.observed import notes, saying, subscription
from tests.name_server import NameServer, name_server
from tests.phone import Dialog, MakePhone, Phone, learn, pidf
from tests.ports import free_port
from tests.running_set import RunningSet, started


@pytest.fixture(scope="module")
def port() -> int:
    """Where the set looks for its name server."""
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def set_with_names(port: int) -> AsyncIterator[RunningSet]:
    """A set that asks the name server, with T1 at 50 ms. It keeps answers: each test has names of its own."""
    extra = {"VEDETTE_DNS_SERVERS": f"127.0.0.1:{port}", "VEDETTE_T1": "50", "VEDETTE_T2": "400"}
    async with started("--cores", "1", extra=extra) as running:
        yield running


@pytest.fixture
async def server(port: int) -> AsyncIterator[NameServer]:
    """The name server, which knows nothing at first."""
    async with name_server(port) as started_one:
        yield started_one


async def subscribed(phone: Phone, presentity: str, contact: str) -> Dialog:
    dialog = phone.dialog(presentity)
    response = await phone.request(phone.subscribe(dialog, contact=contact))
    assert response.status == 200
    learn(dialog, response)
    return dialog


async def test_not_21_trn_22_trn_23_dlg_07_naptr_srv_and_addresses_lead_to_the_watcher_and_to_the_next_server(
    set_with_names: RunningSet, server: NameServer, make_phone: MakePhone
) -> None:
    alice, bob, silent = [await make_phone(set_with_names) for _ in range(3)]
    silent.answer = lambda _: None
    server.put("bob.example.net", "NAPTR", '10 10 "s" "SIP+D2U" "" _sip._udp.pool.example.net.')
    server.put(
        "_sip._udp.pool.example.net",
        "SRV",
        f"10 0 {silent.local[1]} host.example.net.",
        f"20 0 {bob.local[1]} host.example.net.",
    )
    server.put("host.example.net", "A", "127.0.0.1")
    await subscribed(bob, alice.aor, "<sip:bob@bob.example.net>")
    notify = await bob.next_notify()
    assert notify.start == "NOTIFY sip:bob@bob.example.net SIP/2.0"
    asked = server.asked["bob.example.net", "NAPTR"]  # more than once where this process was slow to answer
    tried = await silent.next_notify()
    assert (tried["call-id"], tried["cseq"]) == (notify["call-id"], notify["cseq"])
    assert tried.branch != notify.branch
    await alice.published(body=pidf(alice.aor, note="second"))
    await bob.notify_where(saying("second"))
    assert {message["cseq"] for message in silent.received} == {notify["cseq"]}, "it is not tried first again"
    assert server.asked["bob.example.net", "NAPTR"] == asked, "answers are kept"


async def test_trn_23_a_contact_with_a_port_skips_srv_and_the_system_knows_localhost(
    set_with_names: RunningSet, server: NameServer, make_phone: MakePhone
) -> None:
    bob = await make_phone(set_with_names)
    server.put("port.example.net", "A", "127.0.0.1")
    for host in ("port.example.net", "localhost"):
        await subscribed(bob, f"sip:{host}@example.com", f"<sip:bob@{host}:{bob.local[1]}>")
        assert (await bob.next_notify()).start == f"NOTIFY sip:bob@{host}:{bob.local[1]} SIP/2.0"
    assert {kind for _, kind in server.asked} == {"A", "AAAA"}


async def test_trn_23_while_no_name_server_answers_the_subscription_and_its_debt_stay(
    set_with_names: RunningSet, server: NameServer, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(set_with_names), await make_phone(set_with_names)
    server.fails = True
    server.put("away.example.net", "A", "127.0.0.1")
    dialog = await subscribed(bob, alice.aor, f"<sip:bob@away.example.net:{bob.local[1]}>")
    await alice.published(body=pidf(alice.aor, note="while they were away"))
    assert await subscription(set_with_names, dialog) is not None
    assert bob.nothing_waits()
    server.fails = False
    notify = await bob.next_notify(60.0)
    assert notes(notify.body) == ["while they were away"]
