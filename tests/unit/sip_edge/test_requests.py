"""The flow of a request over a real socket: what the edge decides alone leaves nothing behind (RFC 3261 8.2.7)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sip_edge.domain.authentication import Access
from sip_edge.domain.ban_rules import BanRules
from sip_edge.domain.local_addresses import LocalAddresses
from sip_edge.domain.nonces import Nonces
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows.authentication import Authentication
from sip_edge.flows.banning import Banning
from sip_edge.flows.core_calls import CoreCalls
from sip_edge.flows.open_subscribes import OpenSubscribes
from sip_edge.flows.requests import RequestFlow
from sip_edge.flows.users import Users
from tests.unit.rpc.serving import peers_of
from tests.wait import until_true
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.transaction.layer import RequestFinished
from vedette.sip.transaction.timers import Timers
from vedette.transport.endpoint import Endpoint

MAX_BODY = 1000


class OwnEdge:
    """An endpoint on loopback whose requests go to the flow under test; presence-core is nowhere."""

    def __init__(self, flow: RequestFlow) -> None:
        self.flow = flow
        self.endpoint = Endpoint(self, Timers(), max_body=MAX_BODY)

    def request_received(self, request: Request, flow: Flow) -> None:
        self.flow.received(self.endpoint, request, flow)

    def request_finished(self, finished: RequestFinished) -> None:
        raise AssertionError(finished)

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        raise AssertionError(data)


class Client(asyncio.DatagramProtocol):
    """A socket that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append(data)

    async def asks(self, transport: asyncio.DatagramTransport, data: bytes) -> None:
        """Send it and wait for one more answer."""
        before = len(self.got)
        transport.sendto(data)
        await until_true(lambda: len(self.got) > before, "it is answered")


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[OwnEdge]:
    async with peers_of() as peers:
        flow = RequestFlow(
            authentication=Authentication(
                Access("none"),
                users=Users(peers),
                nonces=Nonces([b"k"]),
                lifetime=300,
                users_max_age=60,
                counts=None,
                banning=Banning(BanRules(), TurnedAway(), is_trusted=lambda _: False, cut=lambda _: 0),
            ),
            calls=CoreCalls(peers, max_batch=10, max_queue=10),
            open_subscribes=OpenSubscribes(),
            instance="edge",
            rpc_address="127.0.0.1:1",
            local_addresses=LocalAddresses(),
            max_body=MAX_BODY,
            max_ongoing=10,
        )
        own = OwnEdge(flow)
        await own.endpoint.open("127.0.0.1", 0)
        yield own
        await own.endpoint.close()


def message(method: str, *rows: str, uri: str = "sip:alice@example.com", body: bytes = b"") -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK1;rport", "From: <sip:b@c>;tag=1",
        "To: <sip:alice@example.com>", "Call-ID: c", f"CSeq: 1 {method}", *rows, f"Content-Length: {len(body)}",
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message("INVITE"), 405),
        (message("MESSAGE", body=b"hello"), 405),
        (message("REGISTER"), 405),
        (message("BYE"), 405),
        (message("NOTIFY"), 481),
        (message("OPTIONS"), 200),
        (message("UNHEARD-OF"), 501),
        (message("PUBLISH", "Require: nothing"), 420),
        (message("PUBLISH", uri="tel:+1"), 416),
        (message("PUBLISH", uri="sip:" + "a" * 3000), 414),
        (message("PUBLISH", body=b"x" * (MAX_BODY + 1)), 413),
        (message("PUBLISH").replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1), 505),
        (message("INVITE").replace(b"Call-ID: c\r\n", b""), 400),
    ],
)
async def test_txn_19_uas_02_what_the_edge_refuses_alone_leaves_no_transaction_and_each_copy_has_one_answer(
    edge: OwnEdge, data: bytes, status: int
) -> None:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=edge.endpoint.address)
    for _ in range(3):
        await client.asks(transport, data)
    transport.sendto(message("ACK"))
    await client.asks(transport, message("INVITE").replace(b"z9hG4bK1", b"z9hG4bKlast"))
    assert b"z9hG4bKlast" in client.got[-1], "the ACK is answered"
    transport.close()
    assert len(client.got) == 4
    assert len(set(client.got[:3])) == 1
    assert client.got[0].startswith(b"SIP/2.0 %d " % status)
    assert b";tag=" in client.got[0].partition(b"\r\nTo: ")[2].partition(b"\r\n")[0]
    assert (len(edge.endpoint.layer), edge.endpoint.layer.next_timer()) == (0, None)
