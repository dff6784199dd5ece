"""SIP over WebSocket (RFC 7118), the wire without I/O and connections on loopback (rows OUT-07 to OUT-14, TRN-26)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.messages import changed, wire
from tests.unit.transport.wires import HOST
from tests.wait import until_true
from tests.websocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocketClient, frame, opening
from vedette.sip.errors import NotSipError
from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.transport.connection import MAX_UNSENT_OCTETS
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.streams import StreamTransport
from vedette.transport.websocket import MAX_HEAD, MAX_IDLE_FRAMES, MAX_OPENING, WebSocketWire

REQUEST = wire()
OTHER = wire(changed(("Call-ID", "c2")))
MAX_BODY = 1000


def opened(**options: str) -> WebSocketWire:
    """A wire whose client was accepted."""
    one = WebSocketWire(max_body=MAX_BODY)
    assert one.receive(opening(**options)) == []
    assert one.is_open
    assert one.answers().startswith(b"HTTP/1.1 101 ")
    return one


def data_of(found: list[Framed]) -> list[bytes]:
    assert all(framed.error is None for framed in found)
    return [framed.data for framed in found]


# the opening


@pytest.mark.parametrize("offered", ["sip", "msrp, sip", "sip,msrp", "xmpp ,sip"])
def test_out_07_the_subprotocol_sip_is_accepted_and_echoed(offered: str) -> None:
    one = WebSocketWire(max_body=MAX_BODY)
    one.receive(opening(subprotocol=offered))
    answer = one.answers()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Protocol: sip\r\n" in answer
    assert (one.is_open, one.is_over) == (True, False)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (opening(subprotocol=None), b"400"),
        (opening(subprotocol="msrp"), b"400"),
        (opening(subprotocol="SIP/2.0"), b"400"),
        (opening(subprotocol="a b c;;"), b"400"),
        (opening().replace(b"GET ", b"POST "), b"405"),
        (opening().replace(b"Upgrade: websocket\r\n", b""), b"426"),
        (opening().replace(b"Version: 13", b"Version: 8"), b"400"),
        (opening().replace(b"HTTP/1.1", b"HTTP/1.0"), b"505"),
        (opening(key="short"), b"400"),
    ],
)
def test_out_07_anything_else_is_refused_and_closed(request_: bytes, status: bytes) -> None:
    one = WebSocketWire(max_body=MAX_BODY)
    assert one.receive(request_ + frame(TEXT, REQUEST)) == []
    assert one.answers().split(b" ")[1] == status
    assert (one.is_open, one.is_over) == (False, True)
    assert one.receive(frame(TEXT, REQUEST)) == []
    assert (one.ping(), one.last_words()) == (b"", b"")


@pytest.mark.parametrize(
    "octets", [REQUEST, b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"x" * (MAX_OPENING + 5)]
)
def test_what_is_no_http_is_closed(octets: bytes) -> None:
    one = WebSocketWire(max_body=MAX_BODY)
    assert one.receive(octets) == []
    assert (one.is_open, one.is_over) == (False, True)


def test_an_opening_may_come_in_pieces_with_frames_behind_it() -> None:
    whole = opening() + frame(TEXT, REQUEST) + frame(TEXT, OTHER)
    for size in (1, 7, len(whole)):
        one = WebSocketWire(max_body=MAX_BODY)
        found = [framed for i in range(0, len(whole), size) for framed in one.receive(whole[i : i + size])]
        assert data_of(found) == [REQUEST, OTHER]


@pytest.mark.parametrize(
    ("origin", "is_accepted"),
    [
        ("https://app.example", True),
        ("https://evil.example", False),
        ("https://app.example.evil", False),
        (None, False),
    ],
)
def test_out_14_the_web_sites_that_may_connect_can_be_named(origin: str | None, *, is_accepted: bool) -> None:
    one = WebSocketWire(max_body=MAX_BODY, origins=["https://app.example", "https://other.example"])
    one.receive(opening(origin=origin))
    assert one.answers().split(b" ")[1] == (b"101" if is_accepted else b"403")
    assert one.is_open is is_accepted


# messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_out_08_one_message_in_each_text_or_binary_message(opcode: int) -> None:
    one = opened()
    assert data_of(one.receive(frame(opcode, REQUEST) + frame(opcode, OTHER))) == [REQUEST, OTHER]
    assert one.answers() == b""


def test_out_08_fragments_are_joined_also_around_a_ping() -> None:
    one = opened()
    assert one.receive(frame(TEXT, REQUEST[:10], fin=False)) == []
    assert one.is_unfinished
    assert one.receive(frame(PING, b"hi") + frame(0, REQUEST[10:20], fin=False)) == []
    assert one.answers() == b"\x8a\x02hi"
    assert data_of(one.receive(frame(0, REQUEST[20:]))) == [REQUEST]
    assert not one.is_unfinished


def test_out_11_the_frame_decides_where_a_message_ends_whatever_content_length_says() -> None:
    one = opened()
    for length in (None, "0", "9999"):
        message = wire(changed(("Content-Length", length)))
        assert data_of(one.receive(frame(TEXT, message))) == [message]


@pytest.mark.parametrize(
    ("message", "opcode"),
    [(REQUEST, TEXT), ("SIP/2.0 200 Schön\r\n\r\n".encode(), TEXT), (b"SIP/2.0 200 OK\r\n\r\n\xff\xfe", BINARY)],
)
def test_out_09_what_is_not_utf_8_goes_out_as_binary(message: bytes, opcode: int) -> None:
    octets = opened().wrap(message)
    assert octets[0] == 0x80 | opcode
    assert octets.endswith(message)


def test_out_13_pings_of_both_kinds_are_answered_and_harmless() -> None:
    one = opened()
    assert one.receive(frame(TEXT, b"\r\n\r\n")) == []
    assert one.answers() == b"\x81\x02\r\n"
    assert one.receive(frame(TEXT, b"\r\n") + frame(BINARY, b"") + frame(PONG, b"whatever")) == []
    assert one.answers() == b""
    assert one.ping() == b"\x89\x00"
    assert data_of(one.receive(frame(TEXT, REQUEST))) == [REQUEST]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frame(TEXT, b"SIP/2.0 200 \xff\r\n\r\n"), 1007),
        (frame(TEXT, bytes(MAX_HEAD + MAX_BODY + 1)), 1009),
        (frame(TEXT, REQUEST, masked=False), 1002),
        (frame(3, b"reserved"), 1002),
        (frame(0, b"nothing to continue"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    ],
    ids=["no UTF-8", "too large", "not masked", "reserved", "continues nothing", "long ping", "text within text"],
)
def test_trn_26_what_breaks_the_rules_is_told_why_and_closed(octets: bytes, code: int) -> None:
    one = opened()
    assert one.receive(octets) == []
    answer = one.answers()
    assert answer[0] == 0x80 | CLOSE
    assert int.from_bytes(answer[2:4], "big") == code
    assert (one.is_open, one.is_over) == (False, True)


def test_trn_26_many_small_fragments_are_no_way_around_the_limit() -> None:
    one = opened()
    part = frame(0, bytes(1000), fin=False)
    found = one.receive(frame(BINARY, b"", fin=False))
    for _ in range((MAX_HEAD + MAX_BODY) // 1000 + 1):
        found += one.receive(part)
    assert found == []
    assert one.is_over


@pytest.mark.parametrize(
    "idle",
    [frame(PING, b""), frame(PONG, b""), frame(TEXT, b""), frame(TEXT, b"\r\n\r\n")],
    ids=["ping", "pong", "empty", "line ends"],
)
def test_sec_05_frames_without_a_message_are_limited_between_two_looks_at_the_clock(idle: bytes) -> None:
    """Messages in between change nothing."""
    one = opened()
    for _ in range(3):
        assert one.receive(idle * (MAX_IDLE_FRAMES - 1)) == []
        assert data_of(one.receive(frame(TEXT, REQUEST))) == [REQUEST]
        one.time_passed()
    one.receive(idle * MAX_IDLE_FRAMES + frame(TEXT, REQUEST))
    assert [type(framed.error) for framed in one.receive(idle * 3)] == [NotSipError]
    assert one.is_over
    assert one.receive(frame(TEXT, REQUEST)) == []


def test_sec_05_fragments_without_an_end_are_limited_too() -> None:
    one = opened()
    found = one.receive(frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * (3 * MAX_IDLE_FRAMES))
    assert [type(framed.error) for framed in found] == [NotSipError]
    assert one.is_over


def test_a_close_is_answered_and_ours_is_said_once() -> None:
    one = opened()
    one.receive(frame(CLOSE, b"\x03\xe8"))
    assert one.answers() == b"\x88\x02\x03\xe8"
    assert (one.is_over, one.last_words()) == (True, b"")
    assert opened().last_words()[:4] == b"\x88\x02\x03\xe9"


@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_trn_26_no_octets_do_harm(pieces: list[bytes], sizes: list[int]) -> None:
    whole = opening() + b"".join(itertools.chain.from_iterable((frame(TEXT, REQUEST), piece) for piece in pieces))
    one = WebSocketWire(max_body=MAX_BODY)
    place = 0
    for size in itertools.cycle(sizes):
        if place >= len(whole):
            break
        one.receive(whole[place : place + size * 10])
        one.answers()
        place += size * 10
    assert one.is_open or one.is_over


# connections


class Recorder:
    """A WebSocket transport and what it told."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.received: list[tuple[Framed, Flow]] = []
        self.failed: list[Flow] = []
        self.now = 0.0
        """Its clock goes on where a test says so."""
        self.transport = StreamTransport(
            "ws",
            make_wire=lambda: WebSocketWire(max_body=MAX_BODY),
            received=lambda framed, flow: self.received.append((framed, flow)),
            failed=self.failed.append,
            limits=limits,
            census=Census(limits),
            dials=False,
            clock=lambda: self.now,
        )

    @property
    def address(self) -> tuple[str, int]:
        return self.transport.addresses[0]

    def pass_over(self, seconds: float) -> None:
        """So many seconds pass, at whose end the connections are looked at."""
        self.now += seconds
        self.transport.sweep()


@asynccontextmanager
async def listening(limits: ConnectionLimits | None = None) -> AsyncIterator[Recorder]:
    recorder = Recorder(limits or ConnectionLimits())
    await recorder.transport.listen(HOST, 0)
    try:
        yield recorder
    finally:
        await recorder.transport.close()


@asynccontextmanager
async def client_of(recorder: Recorder, *, is_opened: bool = True) -> AsyncIterator[WebSocketClient]:
    client = await WebSocketClient.connect(recorder.address)
    try:
        if is_opened:
            await client.open()
        yield client
    finally:
        await client.close()


async def test_out_08_12_messages_come_and_answers_go_back_on_the_connection() -> None:
    async with listening() as here:
        async with client_of(here) as client:
            client.send(frame(TEXT, REQUEST))
            await until_true(lambda: here.received, "the message")
            framed, flow = here.received[0]
            assert framed.data == REQUEST
            assert (flow.transport, flow.source) == ("ws", client.address)
            here.transport.send(flow, b"SIP/2.0 200 OK\r\n\r\n")
            assert await client.frame() == (TEXT, b"SIP/2.0 200 OK\r\n\r\n")
        await until_true(lambda: flow in here.failed, "the end of the connection")


async def test_out_12_a_browser_is_never_connected_to() -> None:
    async with listening() as here:
        flow = Flow("ws", HOST, here.address[1])
        here.transport.send(flow, REQUEST)
        await until_true(lambda: here.failed == [flow], "the failure")
        assert len(here.transport) == 0


async def test_trn_26_an_opening_that_does_not_go_on_is_cut_and_carries_nothing_before() -> None:
    async with listening(ConnectionLimits(opening=10)) as here, client_of(here, is_opened=False) as client:
        client.send(opening()[:-1])
        await until_true(lambda: len(here.transport) == 1, "the connection")
        flow = Flow("ws", *client.address, 1)
        here.transport.send(flow, b"early")
        await until_true(lambda: flow in here.failed, "what came too early")
        here.pass_over(11)
        assert await client.until_closed() == b""
        assert here.transport.cut == 1


async def test_trn_26_a_message_that_does_not_go_on_is_cut() -> None:
    async with listening(ConnectionLimits(message=20)) as here, client_of(here) as client:
        client.send(frame(TEXT, REQUEST)[:-1])
        [connection] = here.transport._connections.values()
        await until_true(lambda: connection._message_since is not None, "a part of the message")
        here.pass_over(21)
        assert await client.until_closed() == b""
        assert (here.received, here.transport.cut) == ([], 1)


async def test_sec_05_a_flood_of_pings_ends_the_connection_and_counts_as_unreadable() -> None:
    async with listening() as here, client_of(here) as client:
        client.send(frame(PING, b"") * (2 * MAX_IDLE_FRAMES))
        await client.until_closed()
        assert [framed.error is not None for framed, _ in here.received] == [True]


async def test_out_13_a_silent_browser_is_pinged_and_stays_while_it_answers() -> None:
    async with listening(ConnectionLimits(ping=30)) as here, client_of(here) as client:
        client.send(frame(TEXT, REQUEST))
        await until_true(lambda: here.received, "the message")
        [connection] = here.transport._connections.values()
        for _ in range(6):
            here.pass_over(31)
            assert await client.frame() == (PING, b"")
            client.send(frame(PONG, b""))
            await until_true(lambda: connection._heard == here.now, "the pong")
        assert here.transport.cut == 0
        for _ in range(4):
            here.pass_over(31)
        assert set(await client.until_closed()) <= {0x89, 0x00}, "without pongs it is cut"
        assert here.transport.cut == 1


async def test_trn_26_a_browser_that_does_not_read_loses_its_connection() -> None:
    async with listening() as here, client_of(here) as client:
        client.send(frame(TEXT, REQUEST))
        await until_true(lambda: here.received, "the message")
        flow = here.received[0][1]
        for _ in range(40):
            here.transport.send(flow, b"x" * (MAX_UNSENT_OCTETS // 4))
        await until_true(lambda: flow in here.failed, "the end of the connection")


async def test_the_end_of_the_transport_is_told_with_a_close_frame() -> None:
    async with listening() as here, client_of(here) as client:
        await here.transport.close()
        opcode, content = await client.frame()
        assert (opcode, int.from_bytes(content[:2], "big")) == (CLOSE, 1001)
        await asyncio.wait_for(client.until_closed(), 15)
