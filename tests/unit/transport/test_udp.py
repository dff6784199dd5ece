"""The UDP socket, on loopback (RFC 3261 section 18)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.unit.transport.wires import HOST, closed_port, has_ipv6, udp_end
from tests.wait import until_true
from vedette.sip.flow import Flow
from vedette.transport.udp import MAX_UNSENT, READS_PER_WAKEUP, UdpTransport

Batches = list[list[tuple[bytes, Flow]]]


class Received:
    """A transport and the batches it gave out."""

    def __init__(self, host: str = HOST) -> None:
        self.batches: Batches = []
        self.transport = UdpTransport(host, 0, self.batches.append)
        self.transport.start()

    @property
    def data(self) -> list[bytes]:
        return [data for batch in self.batches for data, _ in batch]


@pytest.fixture
async def received() -> AsyncIterator[Received]:
    one = Received()
    yield one
    one.transport.close()


async def test_trn_04_a_datagram_comes_with_its_source_and_an_answer_leaves_from_the_same_socket(
    received: Received,
) -> None:
    async with udp_end() as far:
        far.send(b"ping", received.transport.address)
        await until_true(lambda: received.batches, "the datagram")
        flow = Flow("udp", *far.address)
        assert received.batches == [[(b"ping", flow)]]
        far.socket.connect(received.transport.address)  # from now on it takes nothing from anywhere else
        received.transport.send(flow, b"pong")
        assert await far.receive() == b"pong"


async def test_what_has_arrived_meanwhile_is_given_out_together_and_in_order(received: Received) -> None:
    async with udp_end() as far:
        for number in range(5):
            far.send(b"%d" % number, received.transport.address)
        await until_true(lambda: received.batches, "the datagrams")
        assert [[data for data, _ in batch] for batch in received.batches] == [[b"0", b"1", b"2", b"3", b"4"]]


async def test_one_wake_up_reads_so_many_and_the_next_one_the_rest(received: Received) -> None:
    async with udp_end() as far:
        for number in range(READS_PER_WAKEUP + 3):
            far.send(b"%d" % number, received.transport.address)
        await until_true(lambda: len(received.data) == READS_PER_WAKEUP + 3, "all datagrams")
        assert [len(batch) for batch in received.batches] == [READS_PER_WAKEUP, 3]
        assert received.data == [b"%d" % number for number in range(READS_PER_WAKEUP + 3)]


@pytest.mark.parametrize("size", [0, 1, 1500, 60_000, 65_507])
async def test_trn_15_datagrams_of_any_size_arrive_whole(received: Received, size: int) -> None:
    async with udp_end() as far:
        far.send(b"x" * size, received.transport.address)
        await until_true(lambda: received.batches, "the datagram")
        assert received.data == [b"x" * size]
        received.transport.send(Flow("udp", *far.address), b"y" * size)
        assert await far.receive() == b"y" * size


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
async def test_trn_25_ipv6() -> None:
    received = Received("::1")
    try:
        async with udp_end("::1") as far:
            far.send(b"ping", received.transport.address)
            await until_true(lambda: received.batches, "the datagram")
            [[(_, flow)]] = received.batches
            assert flow == Flow("udp", "::1", far.address[1])
            received.transport.send(flow, b"pong")
            assert await far.receive() == b"pong"
    finally:
        received.transport.close()


async def test_an_address_that_is_taken_or_not_ours_is_told(received: Received) -> None:
    with pytest.raises(OSError, match="in use"):
        UdpTransport(HOST, received.transport.address[1], received.batches.append)
    with pytest.raises(OSError, match="assign"):
        UdpTransport("192.0.2.1", 0, received.batches.append)


async def test_processes_may_share_a_port_where_all_say_so() -> None:
    first = UdpTransport(HOST, 0, lambda batch: None, reuse_port=True)
    second = UdpTransport(HOST, first.address[1], lambda batch: None, reuse_port=True)
    assert first.address == second.address
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("flow", "data"),
    [
        (Flow("udp", HOST, 0), b"x"),
        (Flow("udp", HOST, 9), b"x" * 65_508),
        (Flow("udp", "::1", 9), b"x"),
    ],
    ids=["no port", "too long", "another family"],
)
async def test_trn_22_what_the_kernel_refuses_is_counted_and_harms_nothing_else(
    received: Received, flow: Flow, data: bytes
) -> None:
    received.transport.send(flow, data)
    assert received.transport.dropped == 1
    async with udp_end() as far:
        received.transport.send(Flow("udp", *far.address), b"next")
        assert await far.receive() == b"next"


async def test_trn_22_a_far_end_that_is_gone_does_not_end_reading(received: Received) -> None:
    received.transport.send(Flow("udp", *closed_port()), b"into the void")
    async with udp_end() as far:
        far.send(b"still here", received.transport.address)
        await until_true(lambda: received.data == [b"still here"], "the datagram")


async def test_trn_22_a_datagram_that_reached_nobody_comes_back_and_costs_none_that_is_sent_after_it() -> None:
    bounced: list[bytes] = []
    received: Batches = []
    transport = UdpTransport(HOST, 0, received.append, bounced=bounced.append)
    transport.start()
    try:
        nowhere = Flow("udp", *closed_port())
        async with udp_end() as far:
            somewhere = Flow("udp", *far.address)
            for number in range(20):
                transport.send(nowhere, b"lost %d" % number + b"x" * 2000)
                transport.send(somewhere, b"%d" % number)
                far.send(b"%d" % number, transport.address)
            assert [await far.receive() for _ in range(20)] == [b"%d" % number for number in range(20)]
            await until_true(lambda: len(received) and bounced, "what came, and what came back")
            await until_true(lambda: sum(map(len, received)) == 20, "all that came")
        assert transport.dropped == 0
        assert all(data.startswith(b"lost ") for data in bounced)
    finally:
        transport.close()


async def test_what_could_not_leave_at_once_leaves_in_order_and_is_bounded(received: Received) -> None:
    """Loopback never refuses a datagram for long, so that the state is made here: one is waiting already."""
    transport = received.transport
    async with udp_end() as far:
        flow = Flow("udp", *far.address)
        transport._unsent.append((flow, b"0"))
        transport.send(flow, b"1")
        transport.send(Flow("udp", HOST, 0), b"refused by the kernel")
        transport.send(flow, b"2")
        assert far.waiting() == []
        transport._writable()
        assert [await far.receive() for _ in range(3)] == [b"0", b"1", b"2"]
        assert transport.dropped == 1
        transport._unsent.extend([(flow, b"")] * MAX_UNSENT)
        transport.send(flow, b"one too many")
        assert (len(transport._unsent), transport.dropped) == (MAX_UNSENT, 2)


async def test_nothing_is_read_after_the_end() -> None:
    received = Received()
    address = received.transport.address
    async with udp_end() as far:
        far.send(b"late", address)
        received.transport.close()
        await asyncio.sleep(0)
        assert received.batches == []
        batches: Batches = []
        again = UdpTransport(*address, batches.append)
        again.start()
        far.send(b"to the next one", address)
        await until_true(lambda: batches, "the datagram")
        assert received.batches == []
        again.close()


async def test_a_socket_that_leaves_gets_nothing_more_and_can_still_send() -> None:
    batches: tuple[Batches, Batches] = ([], [])
    leaving = UdpTransport(HOST, 0, batches[0].append, reuse_port=True)
    staying = UdpTransport(HOST, leaving.address[1], batches[1].append, reuse_port=True)
    leaving.start()
    staying.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(udp_end()) for _ in range(32)]
            leaving.leave_to_siblings()
            for end in ends:
                end.send(b"ping", staying.address)
            await until_true(lambda: sum(map(len, batches[1])) == len(ends), "the other one gets all")
            assert batches[0] == []
            for end in ends:
                leaving.send(Flow("udp", *end.address), b"pong")
                assert await end.receive() == b"pong"
    finally:
        leaving.close()
        staying.close()


async def test_a_socket_bound_to_all_addresses_goes_on_as_it_is() -> None:
    everywhere = Received("0.0.0.0")
    try:
        everywhere.transport.leave_to_siblings()
        async with udp_end() as far:
            far.send(b"ping", (HOST, everywhere.transport.address[1]))
            await until_true(lambda: everywhere.data == [b"ping"], "it still comes")
    finally:
        everywhere.transport.close()


@pytest.mark.parametrize("bounced", [None, lambda _: None], ids=["deaf", "hears what bounced"])
async def test_what_waits_leaves_as_soon_as_there_is_room(bounced: Callable[[bytes], None] | None) -> None:
    transport = UdpTransport(HOST, 0, lambda _: None, bounced=bounced)
    transport.start()
    try:
        nowhere = Flow("udp", *closed_port())
        async with udp_end() as far:
            flow = Flow("udp", *far.address)
            for first in (0, 3):
                transport._unsent.append((flow, b"%d" % first))
                transport._await_room()
                transport.send(nowhere, b"lost")
                transport.send(flow, b"%d" % (first + 1))
                assert await far.receive() == b"%d" % first
                assert await far.receive() == b"%d" % (first + 1)
                await until_true(lambda: not transport._unsent, "all have left")
            transport.send(flow, b"at once")
            assert await far.receive() == b"at once"
    finally:
        transport.close()
