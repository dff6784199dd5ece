"""NOTIFYs on their way out, over a real endpoint (rows NOT-11 to NOT-13, SUB-02, SUB-33; invariants 3, 5 and 6)."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from sip_edge.adapters.rpc import NotifiesHandler
from sip_edge.domain.branches import make_branch, owner_of
from sip_edge.domain.local_addresses import LocalAddresses
from sip_edge.domain.notify import write_notify
from sip_edge.domain.server_selection import Naptr, Srv
from sip_edge.domain.taken_batches import TakenBatches
from sip_edge.flows.edge import Edge
from sip_edge.flows.foreign_responses import ForeignResponses
from sip_edge.flows.locating import Locator, UndecidedError
from sip_edge.flows.notifies import NAMES_RETRY, WINDOW, WITHOUT_TCP, NotifySender
from sip_edge.flows.open_subscribes import OpenSubscribes
from sip_edge.flows.outcomes import OutcomeReporter
from sip_edge.flows.requests import RequestFlow
from tests.phone import Message
from tests.unit.rpc.serving import peers_of
from tests.unit.transport.wires import closed_port
from tests.wait import until_true
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE, Document, NotifyBatch, NotifyItem, Outcome
from vedette.rpc.server import NotReadyError
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.route import route_in_dialog
from vedette.sip.transaction.layer import RequestFinished
from vedette.sip.transaction.timers import Timers
from vedette.sip.via import parse_via
from vedette.transport.endpoint import Endpoint

DOCUMENT = Document("application/pidf+xml", b"<presence/>")


class Phone(asyncio.DatagramProtocol):
    """A watcher's socket: keeps the NOTIFYs it gets and answers each with `status`, or not at all."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.got: list[tuple[Message, tuple[str, int]]] = []
        self.status: int | None = 200
        self.headers = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    @property
    def address(self) -> tuple[str, int]:
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")
        return host, port

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append((Message.read(data), addr))
        if self.status is not None:
            self.answer(len(self.got) - 1, self.status)

    def answer(self, index: int, status: int) -> None:
        """Answer the NOTIFY of that index."""
        assert self.transport is not None
        notify, address = self.got[index]
        rows = "".join(f"{name}: {notify[name]}\r\n" for name in ("Via", "From", "To", "Call-ID", "CSeq"))
        self.transport.sendto(f"SIP/2.0 {status} X\r\n{rows}{self.headers}\r\n".encode(), address)

    def cseqs(self) -> list[int]:
        return [int(notify["CSeq"].split()[0]) for notify, _ in self.got]


class Names:
    """Names with one address each, None where the name has none."""

    def __init__(self, known: dict[str, str | None]) -> None:
        self.known = known
        self.servers: dict[str, list[Srv]] = {}
        self.is_undecided = False

    async def naptr(self, name: str) -> list[Naptr]:
        return []

    async def srv(self, name: str) -> list[Srv]:
        return self.servers.get(name, [])

    async def addresses(self, name: str) -> list[str]:
        if self.is_undecided:
            raise UndecidedError("nobody answers")
        address = self.known.get(name)
        return [] if address is None else [address]


@dataclass
class Sending:
    """A sender over an endpoint, and a phone."""

    sender: NotifySender
    subscribes: OpenSubscribes
    reporter: OutcomeReporter
    phone: Phone
    endpoint: Endpoint
    directory: Names

    @property
    def names(self) -> dict[str, str | None]:
        """The address of each name."""
        return self.directory.known

    def item(self, name: str = "d", cseq: int = 1, **fields: Any) -> NotifyItem:
        """A NOTIFY for the dialog of that name, at the phone."""
        host, port = self.phone.address
        base = NotifyItem(
            presentity_hash=1,
            dialog_id=name.encode(),
            cseq=cseq,
            document=0,
            call_id=f"call-{name}",
            local="<sip:alice@example.com>;tag=ours",
            remote="<sip:bob@example.net>;tag=theirs",
            remote_tag="theirs",
            target=f"sip:bob@{host}:{port}",
            record_route=[],
            event="presence",
            subscription_state="active;expires=599",
            local_contact="sip:presence@127.0.0.1",
            flow=Flow("udp", host, port),
        )
        return replace(base, **fields)

    def take(self, *items: NotifyItem) -> list[int]:
        return self.sender.take(NotifyBatch([DOCUMENT], list(items)))

    def outcomes(self) -> list[tuple[str, int, int]]:
        """Dialog, CSeq and status of what was reported."""
        return [(o.dialog_id.decode(), o.cseq, o.status) for o in self.reporter._waiting]

    async def reported(self, count: int = 1) -> list[tuple[str, int, int]]:
        """The outcomes, once there are so many."""
        await until_true(lambda: len(self.outcomes()) >= count, "outcomes are reported")
        return self.outcomes()


class User:
    """Hands the endpoint's words to the edge, which is made after it."""

    edge: Edge

    def request_received(self, request: Request, flow: Flow) -> None:
        self.edge.request_received(request, flow)

    def request_finished(self, finished: RequestFinished) -> None:
        self.edge.request_finished(finished)

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        self.edge.stray_response(response, data, flow)


@asynccontextmanager
async def sending(
    *, max_jobs: int = 1000, t1: float = 1000.0, max_udp_size: int = 1300, line: "Line | None" = None
) -> AsyncIterator[Sending]:
    """A sender with its phone on loopback; the phone takes TCP, too, where it has a `line`.

    Without a `t1` no NOTIFY is sent again, however late its answer is read.
    """
    loop = asyncio.get_running_loop()
    port = await line.listen() if line is not None else 0
    transport, phone = await loop.create_datagram_endpoint(Phone, local_addr=("127.0.0.1", port))
    directory = Names({})
    locator = Locator(directory, reaches=lambda transport, host: addresses.towards(transport, host) is not None)

    async with peers_of("") as nobody:
        user = User()
        endpoint = Endpoint(user, Timers(t1=t1, t2=8 * t1, t4=10 * t1))
        await endpoint.open("127.0.0.1", 0)
        addresses = LocalAddresses()
        for kind in ("udp", "tcp"):
            addresses.put(kind, "127.0.0.1", f"127.0.0.1:{endpoint.address[1]}")
        subscribes, reporter = OpenSubscribes(), OutcomeReporter(nobody)
        sender = NotifySender(
            endpoint=lambda: endpoint,
            open_subscribes=subscribes,
            reporter=reporter,
            locator=locator,
            instance="me",
            local_addresses=addresses,
            user_agent="Vedette",
            max_jobs=max_jobs,
            max_udp_size=max_udp_size,
        )
        unused: Any = None
        requests: RequestFlow = unused
        user.edge = Edge(requests, sender, ForeignResponses(nobody, "me"))
        try:
            yield Sending(sender, subscribes, reporter, phone, endpoint, directory)
        finally:
            transport.close()
            await endpoint.close()
            if line is not None:
                await line.close()


class Line:
    """TCP on the port of a phone: keeps the NOTIFYs that come over it and answers each with 200."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> int:
        """The port, which UDP has free, too."""
        while True:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = int(self._server.sockets[0].getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    self._server.close()
                    continue
            return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                notify = Message.read(head + await reader.readexactly(int(Message.read(head)["Content-Length"])))
                self.got.append(notify)
                rows = "".join(f"{name}: {notify[name]}\r\n" for name in ("Via", "From", "To", "Call-ID", "CSeq"))
                writer.write(f"SIP/2.0 200 OK\r\n{rows}Content-Length: 0\r\n\r\n".encode())

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


def of_size(s: Sending, octets: int, **fields: Any) -> NotifyBatch:
    """A batch of one NOTIFY that has so many octets over UDP."""
    item = s.item(**fields)
    via = "SIP/2.0/UDP 127.0.0.1:{};branch={};rport".format(s.endpoint.address[1], make_branch("me", 1))
    routed = route_in_dialog(item.target, item.record_route)
    empty = len(write_notify(item, Document("text/plain", b""), routed, via=via, user_agent="Vedette"))
    body = b"x" * (octets - empty)
    wrong = len(write_notify(item, Document("text/plain", body), routed, via=via, user_agent="Vedette")) - octets
    return NotifyBatch([Document("text/plain", body[: len(body) - wrong])], [item])


@pytest.mark.parametrize("octets", [700, 1250, 1300, 1301, 11600])
async def test_trn_16_not_23_a_notify_of_more_than_1300_octets_goes_over_tcp(octets: int) -> None:
    over_tcp = octets > 1300
    line = Line()
    async with sending(line=line) as s:
        assert s.sender.take(of_size(s, octets, cseq=7)) == []
        assert await s.reported() == [("d", 7, 200)]
        [notify] = line.got if over_tcp else [message for message, _ in s.phone.got]
        assert len(line.got) + len(s.phone.got) == 1
        assert notify["Via"].startswith(f"SIP/2.0/{'TCP' if over_tcp else 'UDP'} 127.0.0.1:")
        assert over_tcp or len(notify.raw) == octets


async def test_trn_17_a_large_notify_goes_over_udp_where_nobody_takes_the_connection() -> None:
    async with sending() as s:
        s.sender.take(of_size(s, 5000, cseq=7))
        assert await s.reported() == [("d", 7, 200)]
        assert await s.reported() == [("d", 7, 200)]
        [(notify, _)] = s.phone.got
        assert notify["Via"].startswith("SIP/2.0/UDP 127.0.0.1:")
        assert len(notify.raw) == 5000
        [until] = s.sender._without_tcp.values()
        assert until == pytest.approx(s.endpoint.now() + WITHOUT_TCP, abs=60)
        s.sender.take(of_size(s, 5000, cseq=8))
        assert await s.reported(2) == [("d", 7, 200), ("d", 8, 200)]
        assert s.sender.under_way == 0


async def test_trn_17_an_address_that_took_no_connection_is_not_asked_again_at_once() -> None:
    line = Line()
    async with sending(line=line) as s:
        s.sender._without_tcp[s.phone.address] = s.endpoint.now() + 600
        s.sender.take(of_size(s, 5000))
        assert await s.reported() == [("d", 1, 200)]
        assert (len(line.got), len(s.phone.got)) == (0, 1)
        s.sender._without_tcp[s.phone.address] = s.endpoint.now() - 1
        s.sender.take(of_size(s, 5000, cseq=2))
        assert await s.reported(2) == [("d", 1, 200), ("d", 2, 200)]
        assert (len(line.got), len(s.phone.got)) == (1, 1)


@pytest.mark.parametrize(("size", "octets"), [(0, 11600), (20000, 11600)])
async def test_trn_18_parameter_max_udp_size_keeps_large_notifies_on_udp(size: int, octets: int) -> None:
    line = Line()
    async with sending(line=line, max_udp_size=size) as s:
        s.sender.take(of_size(s, octets))
        assert await s.reported() == [("d", 1, 200)]
        assert (len(line.got), len(s.phone.got)) == (0, 1)


async def test_trn_18_a_contact_that_names_udp_gets_a_large_notify_over_udp() -> None:
    line = Line()
    async with sending(line=line) as s:
        host, port = s.phone.address
        s.sender.take(of_size(s, 5000, target=f"sip:bob@{host}:{port};transport=udp"))
        assert await s.reported() == [("d", 1, 200)]
        assert (len(line.got), len(s.phone.got)) == (0, 1)


async def test_a_notify_is_sent_and_its_outcome_reported() -> None:
    async with sending() as s:
        assert s.take(s.item(cseq=7)) == []
        assert await s.reported() == [("d", 7, 200)]
        [(notify, _)] = s.phone.got
        assert notify.body == DOCUMENT.body
        assert owner_of(parse_via(notify["Via"]).branch) == "me"
        assert s.sender.outcomes == {("presence", "200"): 1}
        assert s.sender.under_way == 0


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [(481, "", None), (503, "Retry-After: 7\r\n", 7), (500, "Retry-After: soon\r\n", None), (302, "", None)],
)
async def test_not_15_and_not_17_the_answer_is_reported_as_it_is(
    status: int, headers: str, retry_after: int | None
) -> None:
    async with sending() as s:
        s.phone.status, s.phone.headers = status, headers
        s.take(replace(s.item(), digest=b"what it shows"))
        await s.reported()
        assert s.reporter._waiting == [Outcome(1, b"d", 1, status, retry_after, b"what it shows", call_id="call-d")]


async def test_sub_02_and_sub_33_a_notify_waits_for_the_2xx_of_its_subscribe() -> None:
    async with sending() as s:
        s.subscribes.opened(("call-d", "theirs"))
        s.take(s.item(), s.item("other"))
        assert await s.reported() == [("other", 1, 200)]
        assert len(s.phone.got) == 1
        s.subscribes.closed(("call-d", "theirs"))
        assert await s.reported(2) == [("other", 1, 200), ("d", 1, 200)]


async def test_a_copy_of_a_notify_under_way_is_not_sent_again() -> None:
    async with sending() as s:
        s.phone.status = None
        s.take(s.item(cseq=5))
        s.take(s.item(cseq=5), s.item(cseq=4))
        await until_true(lambda: s.phone.got, "the NOTIFY is there")
        assert s.sender.under_way == 1
        s.phone.answer(0, 200)
        assert await s.reported() == [("d", 5, 200)]
        assert set(s.phone.cseqs()) == {5}


async def test_not_12_a_newer_notify_of_the_dialog_takes_the_place_of_the_one_under_way() -> None:
    async with sending() as s:
        s.phone.status = None
        s.take(s.item(cseq=5))
        await until_true(lambda: s.phone.cseqs() == [5], "the first NOTIFY is there")
        s.take(s.item(cseq=6))
        await until_true(lambda: 6 in s.phone.cseqs(), "the second NOTIFY is there")
        s.phone.answer(s.phone.cseqs().index(5), 481)
        s.phone.answer(s.phone.cseqs().index(6), 200)
        assert await s.reported() == [("d", 6, 200)]
        assert s.sender.under_way == 0


async def test_not_13_a_notify_that_waits_is_replaced_before_it_is_sent() -> None:
    async with sending() as s:
        s.subscribes.opened(("call-d", "theirs"))
        for cseq in (1, 2, 3):
            s.take(s.item(cseq=cseq))
        s.subscribes.closed(("call-d", "theirs"))
        assert await s.reported() == [("d", 3, 200)]
        assert s.phone.cseqs() == [3]


async def test_what_is_over_the_limit_is_refused_and_taken_later() -> None:
    async with sending(max_jobs=2) as s:
        s.phone.status = None
        assert s.take(*(s.item(name) for name in "abcd")) == [2, 3]
        await until_true(lambda: len(s.phone.got) == 2, "the others are sent")
        s.phone.answer(0, 200)
        await s.reported()
        assert s.take(s.item("c")) == []


@pytest.mark.parametrize("target", ["nonsense", "tel:+1", "sip:"])
async def test_a_target_that_is_none_is_unreachable_and_leaves_nothing_behind(target: str) -> None:
    async with sending() as s:
        s.phone.status = None
        s.take(s.item(cseq=1))
        s.take(s.item(cseq=2, target=target))
        assert await s.reported() == [("d", 2, UNREACHABLE)]
        assert s.sender.under_way == 0
        await s.sender.drain()


async def test_not_21_names_are_looked_up_and_those_without_an_address_are_unreachable() -> None:
    async with sending() as s:
        s.names["phone.example.net"] = "127.0.0.1"
        port = s.phone.address[1]
        s.take(
            s.item("a", target=f"sip:bob@phone.example.net:{port}"), s.item("b", target="sip:bob@nowhere.example.net")
        )
        assert sorted(await s.reported(2)) == [("a", 1, 200), ("b", 1, UNREACHABLE)]


def pool(s: Sending, *ports: int) -> NotifyItem:
    """A NOTIFY to a domain with a server on each of these ports, in this order."""
    s.names["server.example.net"] = "127.0.0.1"
    s.directory.servers["_sip._udp.pool.example.net"] = [
        Srv(priority, 0, port, "server.example.net.") for priority, port in enumerate(ports)
    ]
    return s.item(target="sip:bob@pool.example.net")


@pytest.mark.parametrize("first", ["silent", "503"])
async def test_trn_22_trn_23_the_next_server_of_a_domain_gets_what_the_first_does_not_serve(first: str) -> None:
    loop = asyncio.get_running_loop()
    transport, other = await loop.create_datagram_endpoint(Phone, local_addr=("127.0.0.1", 0))
    other.status = None if first == "silent" else 503
    async with sending(t1=0.02 if first == "silent" else 1000.0) as s:
        s.take(pool(s, other.address[1], s.phone.address[1]))
        assert await s.reported() == [("d", 1, 200)]
        tried, served = other.got[0][0], s.phone.got[0][0]
        assert tried["CSeq"] == served["CSeq"]
        assert parse_via(tried["Via"]).branch != parse_via(served["Via"]).branch
        already = len(other.got)
        s.take(replace(pool(s, other.address[1], s.phone.address[1]), cseq=2))
        assert await s.reported(2) == [("d", 1, 200), ("d", 2, 200)]
        assert len(other.got) == already, "it is tried last for a while"
        assert s.sender.under_way == 0
    transport.close()


async def test_trn_23_what_the_last_server_says_is_the_outcome() -> None:
    async with sending() as s:
        s.phone.status = 503
        s.take(pool(s, s.phone.address[1], s.phone.address[1]))
        assert await s.reported() == [("d", 1, 503)]
        assert len(s.phone.got) == 2


async def test_trn_22_trn_23_a_connection_that_cannot_be_made_leads_to_the_next_server() -> None:
    line = Line()
    async with sending(line=line) as s:
        s.names["server.example.net"] = "127.0.0.1"
        _, closed = closed_port()
        s.directory.servers["_sip._tcp.pool.example.net"] = [
            Srv(1, 0, closed, "server.example.net."),
            Srv(2, 0, s.phone.address[1], "server.example.net."),
        ]
        s.take(s.item(target="sip:bob@pool.example.net;transport=tcp"))
        assert await s.reported() == [("d", 1, 200)]
        assert len(line.got) == 1


async def test_a_next_hop_that_nobody_can_tell_is_asked_for_again_later() -> None:
    async with sending() as s:
        s.directory.is_undecided = True
        s.take(s.item(target="sip:bob@phone.example.net"))
        await s.reported()
        assert s.reporter._waiting == [Outcome(1, b"d", 1, 503, NAMES_RETRY, call_id="call-d")]
        assert s.sender.under_way == 0


async def test_not_14_silence_is_a_timeout() -> None:
    async with sending(t1=0.005) as s:
        s.phone.status = None
        s.take(s.item())
        assert await s.reported() == [("d", 1, TIMEOUT)]
        assert len(s.phone.got) > 1


async def test_out_05_a_connection_that_cannot_be_made_is_unreachable() -> None:
    async with sending() as s:
        port = s.phone.address[1]
        s.take(s.item(target=f"sip:bob@127.0.0.1:{port};transport=tcp", flow=Flow("tcp", "127.0.0.1", port, 99)))
        assert await s.reported() == [("d", 1, UNREACHABLE)]


@pytest.mark.parametrize(
    ("target", "flow"),
    [
        ("sip:bob@df7jal23ls0d.invalid;transport=ws", Flow("wss", "127.0.0.1", 40000, 99)),
        ("sip:bob@df7jal23ls0d.invalid;transport=ws", Flow("ws", "127.0.0.1", 40000, 99)),
        ("sip:bob@192.168.1.7:5060;transport=tcp", Flow("tcp", "9.9.9.9", 40000, 99)),
        ("sip:bob@192.168.1.7:5060;transport=tls", Flow("tls", "9.9.9.9", 40000, 99)),
    ],
)
async def test_out_05_out_12_a_watcher_that_only_its_own_connection_leads_to_fails_at_once(
    target: str, flow: Flow
) -> None:
    async with sending() as s:
        s.take(s.item(target=target, flow=flow))
        assert s.outcomes() == [("d", 1, FLOW_GONE)]
        assert s.sender.outcomes == {("presence", "flow_gone"): 1}
        assert s.sender.under_way == 0


async def test_trn_22_a_connection_that_ends_under_a_notify_leads_to_the_contact() -> None:
    line = Line()
    async with sending(line=line) as s:
        host, port = s.phone.address
        reader, writer = await asyncio.open_connection(*s.endpoint.address)
        local = writer.get_extra_info("sockname")
        await until_true(lambda: s.endpoint.connections == {"tcp": 1}, "the connection")
        flow = Flow("tcp", local[0], local[1], 1)
        s.take(s.item("to-contact", target=f"sip:bob@{host}:{port};transport=tcp", flow=flow))
        s.take(s.item("to-nobody", target="sip:bob@a.invalid;transport=tcp", flow=flow))
        for _ in range(2):
            assert (await reader.readuntil(b"<presence/>")).startswith(b"NOTIFY ")
        writer.close()
        await writer.wait_closed()
        assert sorted(await s.reported(2)) == [("to-contact", 1, 200), ("to-nobody", 1, FLOW_GONE)]
        assert len(line.got) == 1


async def test_a_burst_to_one_address_leaves_in_windows() -> None:
    async with sending(t1=0.5) as s:
        s.phone.status = None
        count = WINDOW * 2 + 10
        s.take(*(s.item(f"{number}") for number in range(count)))
        first = s.endpoint.layer
        assert len(first) == WINDOW
        await until_true(lambda: len({m["Call-ID"] for m, _ in s.phone.got}) == count, "all of them arrive")
        for index in range(len(s.phone.got)):
            s.phone.answer(index, 200)
        await s.reported(count)
        assert s.sender.under_way == 0


async def test_answers_let_the_next_ones_go() -> None:
    async with sending(t1=0.5) as s:
        s.take(*(s.item(f"{number}") for number in range(WINDOW * 3)))
        assert len(await s.reported(WINDOW * 3)) == WINDOW * 3
        order: Callable[[Message], int] = lambda message: int(message["Call-ID"].removeprefix("call-"))  # noqa: E731
        sent = [order(message) for message, _ in s.phone.got]
        assert sorted(set(sent)) == list(range(WINDOW * 3))
        assert list(itertools.islice(dict.fromkeys(sent), WINDOW)) == list(range(WINDOW))


async def test_what_ends_because_our_sockets_close_is_no_outcome_and_nothing_more_is_taken() -> None:
    async with sending() as s:
        s.phone.status = None
        s.take(s.item())
        await until_true(lambda: s.phone.got, "the NOTIFY has come")
        s.sender.close()
        s.phone.answer(0, 200)
        await until_true(lambda: s.sender.under_way == 0, "it has ended")
        assert s.outcomes() == []
        with pytest.raises(NotReadyError):
            await NotifiesHandler(s.sender, TakenBatches(), lambda: 0.0)(
                msgspec.msgpack.encode(NotifyBatch([DOCUMENT], [s.item()]))
            )
