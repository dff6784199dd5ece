"""The far ends of these tests: plain sockets on loopback."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.ports import free_port

HOST = "127.0.0.1"
PATIENCE = 15.0
"""Seconds; only a failure uses them up."""


class UdpEnd:
    """A bound datagram socket."""

    def __init__(self, host: str = HOST) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.address: tuple[str, int] = self.socket.getsockname()[:2]

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        """At once: on loopback the datagram then lies in the other socket's buffer."""
        self.socket.sendto(data, to)

    async def receive(self) -> bytes:
        """The next datagram."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65535)

    def waiting(self) -> list[bytes]:
        """What has arrived and not been read."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self.socket.recv(65535))
            except BlockingIOError:
                return found


@asynccontextmanager
async def udp_end(host: str = HOST) -> AsyncIterator[UdpEnd]:
    """A datagram socket that is closed in the end."""
    end = UdpEnd(host)
    try:
        yield end
    finally:
        end.socket.close()


class TcpEnd:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.address: tuple[str, int] = writer.get_extra_info("sockname")[:2]

    def send(self, data: bytes) -> None:
        """Written, not waited for."""
        self.writer.write(data)

    async def receive(self, count: int) -> bytes:
        """That many octets."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def end(self) -> bytes:
        """All that comes until the far end closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Close it, whatever state it is in."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


@asynccontextmanager
async def connect(address: tuple[str, int]) -> AsyncIterator[TcpEnd]:
    """A connection to a listener under test."""
    end = TcpEnd(*await asyncio.open_connection(*address))
    try:
        yield end
    finally:
        await end.close()


class Listener:
    """A listener of the far end, and the connections it got."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[TcpEnd] = asyncio.Queue()
        self.ends: list[TcpEnd] = []
        self.address: tuple[str, int] = (HOST, 0)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called by asyncio."""
        end = TcpEnd(reader, writer)
        self.ends.append(end)
        self.accepted.put_nowait(end)

    async def accept(self) -> TcpEnd:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.accepted.get()


@asynccontextmanager
async def listener() -> AsyncIterator[Listener]:
    """A listener on a free port."""
    far = Listener()
    server = await asyncio.start_server(far.connected, HOST, 0)
    far.address = server.sockets[0].getsockname()[:2]
    try:
        yield far
    finally:
        server.close()
        for end in far.ends:
            await end.close()


def closed_port(host: str = HOST) -> tuple[str, int]:
    """An address where nobody listens, nor will: its port is one of ours."""
    return host, free_port(host)


def connect_and_reset(address: tuple[str, int]) -> None:
    """A connection that is reset before the listener's loop can accept it."""
    with socket.create_connection(address, timeout=PATIENCE) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
