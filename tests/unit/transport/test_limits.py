"""How many connections there may be and for how long (rows TRN-26, TRN-27, OUT-04)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.sip.messages import wire
from tests.unit.transport.wires import HOST, connect, listener
from tests.wait import until_true
from vedette.sip.flow import Flow
from vedette.sip.source import source_of
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.streams import StreamTransport
from vedette.transport.tcp import StreamWire

REQUEST = wire()


class Here:
    """A transport with its limits, and what it told; its clock goes on where a test says so."""

    def __init__(self, limits: ConnectionLimits, census: Census | None = None) -> None:
        self.failed: list[Flow] = []
        self.received: list[bytes] = []
        self.now = 0.0
        self.transport = StreamTransport(
            "tcp",
            make_wire=lambda: StreamWire(max_body=100_000),
            received=lambda framed, _: self.received.append(framed.data),
            failed=self.failed.append,
            limits=limits,
            census=census or Census(limits),
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
async def listening(limits: ConnectionLimits, census: Census | None = None) -> AsyncIterator[Here]:
    here = Here(limits, census)
    await here.transport.listen(HOST, 0)
    try:
        yield here
    finally:
        await here.transport.close()


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_ipv6_customer_is_one_source(host: str, source: str) -> None:
    assert source_of(host) == source


def test_what_is_opened_from_here_counts_in_all_but_not_against_the_source() -> None:
    census = Census(ConnectionLimits(total=4, per_source=2))
    assert [census.admit("192.0.2.1", accepted=True) for _ in range(3)] == [True, True, False]
    assert census.admit("192.0.2.1", accepted=False)
    assert census.admit("192.0.2.2", accepted=True)
    assert not census.admit("192.0.2.3", accepted=True)
    assert not census.admit("192.0.2.3", accepted=False)
    for _ in range(3):
        census.left("192.0.2.1")
    census.left("192.0.2.2")
    assert census.total == 0
    assert census.admit("192.0.2.1", accepted=True)


async def test_trn_26_one_source_cannot_take_all_places_and_the_limit_is_for_all_transports() -> None:
    limits = ConnectionLimits(total=3, per_source=2)
    census = Census(limits)
    async with listening(limits, census) as tcp, listening(limits, census) as other:
        async with connect(tcp.address), connect(other.address):
            await until_true(lambda: census.total == 2, "two connections")
            async with connect(tcp.address) as third:
                assert await third.end() == b""
            assert (tcp.transport.refused, other.transport.refused) == (1, 0)
        await until_true(lambda: census.total == 0, "their ends")
        async with connect(tcp.address) as again:
            again.send(REQUEST)
            await until_true(lambda: tcp.received == [REQUEST], "the place is free again")


@pytest.mark.parametrize("start", [REQUEST[:-1], b"OPTIONS", b"\r\n\r\nS"])
async def test_trn_26_a_message_that_comes_octet_by_octet_has_its_time(start: bytes) -> None:
    async with listening(ConnectionLimits(message=20)) as here, connect(here.address) as far:
        far.send(REQUEST + start)
        await until_true(lambda: here.received == [REQUEST], "the first message")
        while not here.transport.cut:
            far.send(b"x")
            await asyncio.sleep(0)
            here.pass_over(1)
        assert 20 < here.now < 25
        await until_true(lambda: not len(here.transport), "its end")
        assert (here.transport.cut, len(here.failed)) == (1, 2)


async def test_trn_26_a_stream_of_whole_messages_is_no_slow_one() -> None:
    async with listening(ConnectionLimits(message=20)) as here, connect(here.address) as far:
        half = len(REQUEST) // 2
        far.send(REQUEST[:half])
        for count in range(1, 31):
            far.send(REQUEST[half:] + REQUEST[:half])
            await until_true(lambda c=count: len(here.received) == c, "the next message")  # type: ignore[misc]
            here.pass_over(15)
        assert here.transport.cut == 0


async def test_limits_are_looked_at_without_being_asked() -> None:
    async with listening(ConnectionLimits(idle=0.1)) as here, connect(here.address) as far:
        await until_true(lambda: len(here.transport) == 1, "the connection")
        here.now += 0.2
        assert await far.end() == b""
        assert here.transport.cut == 1


async def test_trn_27_a_silent_connection_is_closed_and_a_keep_alive_prevents_it() -> None:
    async with (
        listening(ConnectionLimits(idle=50)) as here,
        connect(here.address) as far,
        connect(here.address) as silent,
    ):
        far.send(REQUEST)
        silent.send(REQUEST)
        await until_true(lambda: len(here.received) == 2, "their messages")
        for _ in range(10):
            far.send(b"\r\n\r\n")
            assert await far.receive(2) == b"\r\n"
            here.pass_over(10)
        assert await silent.end() == b""
        assert (here.transport.cut, len(here.transport)) == (1, 1)


async def test_trn_26_a_connection_has_to_carry_a_message_some_time() -> None:
    async with (
        listening(ConnectionLimits(first_message=60)) as here,
        connect(here.address) as used,
        connect(here.address) as unused,
    ):
        used.send(REQUEST)
        unused.send(b"\r\n\r\n")
        assert await unused.receive(2) == b"\r\n"
        await until_true(lambda: here.received, "the message")
        here.pass_over(61)
        assert await unused.end() == b""
        assert (here.transport.cut, len(here.transport)) == (1, 1)


async def test_trn_26_a_far_end_that_stops_reading_has_its_time() -> None:
    async with listening(ConnectionLimits(message=20)) as here, connect(here.address) as far:
        far.send(REQUEST)
        await until_true(lambda: here.received, "the message")
        flow = Flow("tcp", *far.address)
        far.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not here.transport.cut:  # the kernel takes some megabytes
            here.transport.send(flow, b"x" * 50_000)
            await asyncio.sleep(0)
            here.pass_over(5)
            assert flow not in here.failed or here.transport.cut, "it had its time"
        await until_true(lambda: flow in here.failed, "its end")
        assert here.transport.cut == 1


async def test_a_connection_of_ours_waits_for_its_first_answer_as_long_as_it_is_open() -> None:
    async with listening(ConnectionLimits(first_message=60)) as here, listener() as far:
        here.transport.send(Flow("tcp", *far.address), b"hello")
        end = await far.accept()
        assert await end.receive(5) == b"hello"
        here.pass_over(600)
        assert (here.transport.cut, len(here.transport)) == (0, 1)
