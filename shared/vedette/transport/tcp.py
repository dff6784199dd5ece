"""SIP over TCP: a listener, the connections it accepted and those it opened (RFC 3261 section 18, RFC 5626)."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from vedette.sip.flow import Flow
from vedette.sip.framing import Framed, KeepAlive, StreamFramer

CONNECT_TIMEOUT = 4.0
MAX_UNSENT_OCTETS = 4 * 1024 * 1024
PONG = b"\r\n"


class _Connection(asyncio.Protocol):
    """One connection: frames what comes in, answers pings, knows its flow."""

    def __init__(self, owner: "TcpTransport", number: int) -> None:
        self._owner = owner
        self._framer = StreamFramer(max_body=owner.max_body)
        self.number = number
        self.flow = Flow("tcp", "", 0, number)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None:  # reset before it was accepted
            self.transport.abort()
            return
        host, port = peer[:2]
        self.flow = Flow("tcp", host, port, self.number)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        for item in self._framer.receive(data):
            if item is KeepAlive.PING:
                self.send(PONG)
            elif isinstance(item, Framed):
                self._owner.framed(self, item)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._owner.lost(self)

    def send(self, data: bytes) -> bool:
        """Whether the data was taken; a far end that does not read loses its connection."""
        if self.transport is None or self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() + len(data) > MAX_UNSENT_OCTETS:
            self.transport.abort()
            return False
        self.transport.write(data)
        return True

    def close(self) -> None:
        """Close after what was written has left."""
        if self.transport is not None:
            self.transport.close()


class TcpTransport:
    """All TCP connections of one endpoint. A flow with connection 0 means any connection to its address."""

    def __init__(
        self,
        *,
        received: Callable[[Framed, Flow], None],
        failed: Callable[[Flow], None],
        max_connections: int,
        max_body: int,
    ) -> None:
        """`received` gets each message, or the error that ends a connection; `failed` each flow that is gone."""
        self._received = received
        self._failed = failed
        self._max_connections = max_connections
        self.max_body = max_body
        self._connections: dict[int, _Connection] = {}
        self._by_address: dict[tuple[str, int], _Connection] = {}
        self._connecting: dict[tuple[str, int], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._numbers = 0
        self.address: tuple[str, int] = ("", 0)
        self.refused = 0
        """Connections that were closed at once because there were too many."""

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Accept connections; OSError where the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._new_connection, host, port, reuse_address=True, reuse_port=reuse_port or None, backlog=1024
        )
        self.address = self._server.sockets[0].getsockname()[:2]

    def __len__(self) -> int:
        return len(self._connections)

    def has(self, flow: Flow) -> bool:
        """Whether the flow's own connection is open."""
        return flow.connection in self._connections

    def send(self, flow: Flow, data: bytes) -> None:
        """Send on the flow's connection, or on any to its address, or open one; `failed` is told where that fails."""
        connection = self._connections.get(flow.connection) if flow.connection else self._by_address.get(flow.source)
        if connection is not None:
            if not connection.send(data):
                self._later_failed(flow)
        elif flow.connection:
            self._later_failed(flow)
        else:
            self._connect_and_send(flow, data)

    def _later_failed(self, flow: Flow) -> None:
        asyncio.get_running_loop().call_soon(self._failed, flow)

    def _connect_and_send(self, flow: Flow, data: bytes) -> None:
        waiting = self._connecting.get(flow.source)
        if waiting is not None:
            waiting.append(data)
            return
        self._connecting[flow.source] = [data]
        task = asyncio.create_task(self._connect(flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(self._new_connection, flow.host, flow.port)
        except (OSError, TimeoutError):
            del self._connecting[flow.source]
            self._failed(flow)
            return
        sent = [connection.send(data) for data in self._connecting.pop(flow.source)]
        if not all(sent):
            self._failed(flow)

    def _new_connection(self) -> _Connection:
        self._numbers += 1
        return _Connection(self, self._numbers)

    # told by the connections

    def opened(self, connection: _Connection) -> None:
        """A connection is there."""
        if len(self._connections) >= self._max_connections:
            self.refused += 1
            if connection.transport is not None:
                connection.transport.abort()
            return
        self._connections[connection.number] = connection
        self._by_address[connection.flow.source] = connection

    def framed(self, connection: _Connection, framed: Framed) -> None:
        """A message, or an error after which the connection is closed."""
        self._received(framed, connection.flow)
        if framed.error is not None:
            connection.close()

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        if self._connections.pop(connection.number, None) is None:
            return
        if self._by_address.get(connection.flow.source) is connection:
            del self._by_address[connection.flow.source]
            self._failed(connection.flow._replace(connection=0))
        self._failed(connection.flow)

    async def close(self) -> None:
        """Stop accepting and close all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)
