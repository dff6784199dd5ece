"""TCP connections, on loopback (RFC 3261 section 18, RFC 5626 sections 4.4.1 and 5.3)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.unit.sip.messages import changed, wire
from tests.unit.transport.wires import HOST, closed_port, connect, connect_and_reset, has_ipv6, listener
from tests.wait import until_true
from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.transport.connection import MAX_UNSENT_OCTETS
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.streams import StreamTransport
from vedette.transport.tcp import PONG, StreamWire

REQUEST = wire()
OTHER = wire(changed(("Call-ID", "c2")))
BAD = wire(changed(("Content-Length", None)))


class Recorder:
    """A transport and what it told."""

    def __init__(self, max_connections: int = 10, max_body: int = 1000) -> None:
        self.received: list[tuple[Framed, Flow]] = []
        self.failed: list[Flow] = []
        self.answer = b""
        limits = ConnectionLimits(total=max_connections)
        self.transport = StreamTransport(
            "tcp",
            make_wire=lambda: StreamWire(max_body=max_body),
            received=self.take,
            failed=self.failed.append,
            limits=limits,
            census=Census(limits),
        )

    def take(self, framed: Framed, flow: Flow) -> None:
        self.received.append((framed, flow))
        if self.answer:
            self.transport.send(flow, self.answer)

    @property
    def data(self) -> list[bytes]:
        return [framed.data for framed, _ in self.received]


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    one = Recorder()
    await one.transport.listen(HOST, 0)
    try:
        yield one
    finally:
        await one.transport.close()


@pytest.fixture
async def full() -> AsyncIterator[Recorder]:
    one = Recorder(max_connections=1)
    await one.transport.listen(HOST, 0)
    try:
        yield one
    finally:
        await one.transport.close()


async def test_trn_07_20_a_message_names_its_connection_and_an_answer_goes_back_on_it(
    recorder: Recorder,
) -> None:
    async with connect(recorder.transport.addresses[0]) as near, connect(recorder.transport.addresses[0]) as far:
        near.send(REQUEST)
        await until_true(lambda: recorder.data == [REQUEST], "the first message")
        far.send(OTHER)
        await until_true(lambda: recorder.data == [REQUEST, OTHER], "the second message")
        flows = [flow for _, flow in recorder.received]
        assert [(flow.transport, flow.source) for flow in flows] == [("tcp", near.address), ("tcp", far.address)]
        assert len({flow.connection for flow in flows}) == 2
        assert all(recorder.transport.has(flow) for flow in flows)
        recorder.transport.send(flows[1], b"second")
        recorder.transport.send(flows[0], b"first")
        assert await near.receive(5) == b"first"
        assert await far.receive(6) == b"second"
        assert len(recorder.transport) == 2


async def test_trn_08_a_message_in_pieces_and_several_in_one_piece(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        for start in range(0, len(REQUEST), 50):
            far.send(REQUEST[start : start + 50])
            await far.writer.drain()
            await asyncio.sleep(0)
        far.send(OTHER + REQUEST + OTHER)
        await until_true(lambda: len(recorder.data) == 4, "all messages")
        assert recorder.data == [REQUEST, OTHER, REQUEST, OTHER]


async def test_trn_11_12_a_ping_is_answered_at_once_and_other_line_ends_are_not(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(b"\r\n\r\n")
        assert await far.receive(2) == PONG
        far.send(b"\r\n" + REQUEST + b"\r\n")
        await until_true(lambda: recorder.data == [REQUEST], "the message")
        recorder.transport.send(recorder.received[0][1], b"end")
        assert await far.receive(3) == b"end"


async def test_trn_09_10_26_after_a_framing_error_the_answer_leaves_then_it_ends(
    recorder: Recorder,
) -> None:
    recorder.answer = b"x" * 100_000
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(BAD + REQUEST)
        assert await far.end() == recorder.answer
    [(framed, flow)] = recorder.received
    assert framed.error is not None
    assert framed.data == BAD
    await until_true(lambda: flow in recorder.failed, "the end of the connection")
    assert not recorder.transport.has(flow)


async def test_uas_13_a_body_over_the_limit_is_not_waited_for(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(wire(changed(("Content-Length", "1001"))))
        assert await far.end() == b""
    [(framed, _)] = recorder.received
    assert framed.error is not None
    assert framed.error.status == 413


async def test_trn_20_messages_to_an_address_share_the_connection_that_the_first_opens(recorder: Recorder) -> None:
    async with listener() as far:
        flow = Flow("tcp", *far.address)
        for part in (b"one ", b"two ", b"three "):
            recorder.transport.send(flow, part)
        end = await far.accept()
        assert await end.receive(14) == b"one two three "
        recorder.transport.send(flow, b"four")
        assert await end.receive(4) == b"four"
        assert len(recorder.transport) == len(far.ends) == 1
        end.send(REQUEST)
        await until_true(lambda: recorder.data == [REQUEST], "a message on the connection that was opened")
        assert recorder.received[0][1].source == far.address
        assert recorder.failed == []


async def test_trn_20_a_connection_that_the_far_end_opened_serves_its_address_too(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        await until_true(lambda: len(recorder.transport) == 1, "the connection")
        recorder.transport.send(Flow("tcp", *far.address), b"over the same")
        assert await far.receive(13) == b"over the same"


async def test_trn_22_where_nobody_listens_the_flow_fails(recorder: Recorder) -> None:
    flow = Flow("tcp", *closed_port())
    recorder.transport.send(flow, b"one")
    recorder.transport.send(flow, b"two")
    assert recorder.failed == []
    await until_true(lambda: recorder.failed, "the failure")
    assert recorder.failed == [flow]
    recorder.transport.send(flow, b"three")
    await until_true(lambda: recorder.failed == [flow, flow], "the next failure")


async def test_trn_22_a_connection_that_ends_fails_its_flow_and_its_address(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(REQUEST)
        await until_true(lambda: recorder.received, "the message")
        flow = recorder.received[0][1]
    await until_true(lambda: len(recorder.failed) == 2, "the end of the connection")
    assert set(recorder.failed) == {flow, flow._replace(connection=0)}
    assert (len(recorder.transport), recorder.transport.has(flow)) == (0, False)


async def test_trn_20_an_address_whose_connection_has_ended_gets_a_new_one(recorder: Recorder) -> None:
    async with listener() as far:
        flow = Flow("tcp", *far.address)
        recorder.transport.send(flow, b"one")
        first = await far.accept()
        assert await first.receive(3) == b"one"
        await first.close()
        await until_true(lambda: flow in recorder.failed, "the end of the first")
        recorder.transport.send(flow, b"two")
        second = await far.accept()
        assert await second.receive(3) == b"two"


async def test_trn_07_22_what_goes_to_a_connection_that_is_gone_fails_a_little_later(
    recorder: Recorder,
) -> None:
    async with listener() as far:
        flow = Flow("tcp", *far.address, 4711)
        recorder.transport.send(flow, b"x")
        assert recorder.failed == []
        await until_true(lambda: recorder.failed == [flow], "the failure")
        assert (len(recorder.transport), far.ends) == (0, [])


async def test_trn_26_connections_over_the_limit_are_closed_at_once(full: Recorder) -> None:
    async with connect(full.transport.addresses[0]) as first, connect(full.transport.addresses[0]) as second:
        assert await second.end() == b""
        assert (full.transport.refused, len(full.transport)) == (1, 1)
        first.send(REQUEST)
        await until_true(lambda: full.data == [REQUEST], "the first one still works")
        assert full.failed == []


async def test_trn_22_26_a_connection_that_may_not_be_opened_fails_its_flow(full: Recorder) -> None:
    async with connect(full.transport.addresses[0]), listener() as far:
        await until_true(lambda: len(full.transport) == 1, "the only connection")
        flow = Flow("tcp", *far.address)
        full.transport.send(flow, b"x")
        await until_true(lambda: full.failed == [flow], "the failure")
        assert full.transport.refused == 1


async def test_trn_26_a_far_end_that_does_not_read_loses_its_connection(recorder: Recorder) -> None:
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(REQUEST)
        await until_true(lambda: recorder.received, "the message")
        flow = recorder.received[0][1]
        for _ in range(40):
            recorder.transport.send(flow, b"x" * (MAX_UNSENT_OCTETS // 4))
        await until_true(lambda: flow in recorder.failed, "the end of the connection")
        assert len(recorder.transport) == 0


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_that_is_reset_before_it_is_accepted_harms_nobody(run: Callable[[Any], None]) -> None:
    """The loop of the services, uvloop, does not know the far end of such a connection."""
    complaints: list[object] = []

    async def reset_then_send() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        recorder = Recorder()
        await recorder.transport.listen(HOST, 0)
        for _ in range(3):
            connect_and_reset(recorder.transport.addresses[0])
        async with connect(recorder.transport.addresses[0]) as far:
            far.send(REQUEST)
            await until_true(lambda: recorder.data == [REQUEST], "the message of the next one")
        await until_true(lambda: len(recorder.transport) == 0, "the end of all connections")
        await recorder.transport.close()

    run(reset_then_send())
    assert complaints == []


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
async def test_trn_25_ipv6() -> None:
    recorder = Recorder()
    await recorder.transport.listen("::1", 0)
    async with connect(recorder.transport.addresses[0]) as far:
        far.send(REQUEST)
        await until_true(lambda: recorder.received, "the message")
        flow = recorder.received[0][1]
        assert flow.source == ("::1", far.address[1])
        recorder.transport.send(flow._replace(connection=0), b"back")
        assert await far.receive(4) == b"back"
    await recorder.transport.close()


async def test_an_address_that_is_taken_or_not_ours_is_told(recorder: Recorder) -> None:
    other = Recorder()
    with pytest.raises(OSError, match="in use"):
        await other.transport.listen(*recorder.transport.addresses[0])
    with pytest.raises(OSError, match="assign"):
        await other.transport.listen("192.0.2.1", 0)
    await other.transport.close()


async def test_the_end_of_a_transport_ends_its_connections_and_its_listener(recorder: Recorder) -> None:
    address = recorder.transport.addresses[0]
    async with connect(address) as far, listener() as other:
        await until_true(lambda: len(recorder.transport) == 1, "the connection")
        recorder.transport.send(Flow("tcp", *other.address), b"never connected")
        await recorder.transport.close()
        assert await far.end() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        async with connect(other.address):
            await other.accept()
        assert len(other.ends) == 1


async def test_a_transport_that_stops_listening_goes_on_with_the_connections_it_has(recorder: Recorder) -> None:
    address = recorder.transport.addresses[0]
    async with connect(address) as near:
        near.send(REQUEST)
        await until_true(lambda: recorder.data == [REQUEST], "the connection is there")
        recorder.transport.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        near.send(OTHER)
        await until_true(lambda: recorder.data == [REQUEST, OTHER], "it still works")
