"""The connections of one transport: those that were accepted and those that were opened (RFC 3261 18, RFC 5626)."""

import asyncio
import time
from collections.abc import Callable

from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.sip.source import source_of
from vedette.transport.connection import Connection
from vedette.transport.doorkeeper import Doorkeeper
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.tls import TlsContexts, TlsSession
from vedette.transport.wire import Wire

CONNECT_TIMEOUT = 4.0
SLOWEST_SWEEP = 2.5
BACKLOG = 1024


class StreamTransport:
    """All connections of one kind. A flow with connection 0 means any connection to its address."""

    def __init__(
        self,
        kind: str,
        *,
        make_wire: Callable[[], Wire],
        received: Callable[[Framed, Flow], None],
        failed: Callable[[Flow], None],
        limits: ConnectionLimits,
        census: Census,
        tls: TlsContexts | None = None,
        dials: bool = True,
        doorkeeper: Doorkeeper | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`received` gets each message, or the error that ends a connection; `failed` each flow that is gone.

        `kind` is `tcp`, `tls`, `ws` or `wss`; `tls` the certificates, for the two that have them; `dials`: whether
        connections may be opened from here, which nobody can to a browser; `clock` is what the limits are judged by.
        """
        self.kind = kind
        self._make_wire = make_wire
        self._received = received
        self._failed = failed
        self._limits = limits
        self._census = census
        self._tls = tls
        self._dials = dials
        self._doorkeeper = doorkeeper
        self._clock = clock
        self._connections: dict[int, Connection] = {}
        self._by_address: dict[Flow, Connection] = {}
        self._connecting: dict[Flow, list[bytes]] = {}
        self._established: dict[int, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._numbers = 0
        self._sweep: asyncio.TimerHandle | None = None
        shortest = min(limits.opening, limits.message, limits.first_message, limits.idle, limits.ping)
        self._sweep_interval = min(SLOWEST_SWEEP, shortest / 4)
        self.addresses: list[tuple[str, int]] = []
        self.refused = 0
        """Connections that were closed at once because there were too many."""
        self.cut = 0
        """Connections that were cut because they had used up their time."""
        self.failed_handshakes = 0

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Accept connections; OSError where the address is taken or not ours. May be called for several addresses."""
        server = await asyncio.get_running_loop().create_server(
            self._accept, host, port, reuse_address=True, reuse_port=reuse_port or None, backlog=BACKLOG
        )
        self._servers.append(server)
        self.addresses.append(server.sockets[0].getsockname()[:2])

    def __len__(self) -> int:
        return len(self._connections)

    def has(self, flow: Flow) -> bool:
        """Whether the flow's own connection is open."""
        return flow.connection in self._connections

    def send(self, flow: Flow, data: bytes) -> None:
        """Send on the flow's connection, or on any to its address, or open one; `failed` is told where that fails."""
        connection = self._connections.get(flow.connection) if flow.connection else self._by_address.get(flow)
        if connection is not None and connection.is_established:
            if not connection.send(data):
                self._later_failed(flow)
        elif flow.connection or not self._dials:
            self._later_failed(flow)
        else:
            self._connect_and_send(flow, data)

    def _later_failed(self, flow: Flow) -> None:
        asyncio.get_running_loop().call_soon(self._failed, flow)

    # connections of ours

    def _connect_and_send(self, flow: Flow, data: bytes) -> None:
        waiting = self._connecting.get(flow)
        if waiting is not None:
            waiting.append(data)
            return
        self._connecting[flow] = [data]
        task = asyncio.create_task(self._connect(flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        self._numbers += 1
        number = self._numbers
        established = self._established[number] = asyncio.Event()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    lambda: self._new_connection(number, dialled=flow), flow.host, flow.port
                )
                await established.wait()
        except (OSError, TimeoutError):
            if connection is not None:
                connection.abort()
        finally:
            del self._established[number]
            waiting = self._connecting.pop(flow)
        sent = connection is not None and [connection.send(data) for data in waiting]
        if not sent or not all(sent):
            self._failed(flow)

    def _accept(self) -> Connection:
        self._numbers += 1
        return self._new_connection(self._numbers)

    def _new_connection(self, number: int, dialled: Flow | None = None) -> Connection:
        session: TlsSession | None = None
        if self._tls is not None:
            if dialled is None:
                session = TlsSession(self._tls.server, server_side=True)
            else:
                session = TlsSession(self._tls.client, server_side=False, name=dialled.name or dialled.host)
        return Connection(self, self.kind, number, self._make_wire(), session, clock=self._clock, dialled=dialled)

    # told by the connections

    def opened(self, connection: Connection) -> bool:
        """Whether there is room for the connection, and its far end may come in."""
        keeper = self._doorkeeper
        accepted = connection.dialled is None
        if accepted and keeper is not None and keeper.watches and not keeper.admits(connection.flow.host):
            return False
        if not self._census.admit(connection.flow.host, accepted=accepted):
            self.refused += 1
            self._wake(connection)
            return False
        self._connections[connection.number] = connection
        if connection.dialled is None:
            self._by_address[connection.flow._replace(connection=0)] = connection
        if self._sweep is None:
            self._arm()
        return True

    def established(self, connection: Connection) -> None:
        """The connection may be used."""
        if connection.dialled is not None:
            self._by_address[connection.dialled] = connection
        self._wake(connection)

    def _wake(self, connection: Connection) -> None:
        event = self._established.get(connection.number)
        if event is not None:
            event.set()

    def framed(self, connection: Connection, framed: Framed) -> None:
        """A message, or an error after which the connection is closed."""
        self._received(framed, connection.flow)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._wake(connection)
        if self._connections.pop(connection.number, None) is None:
            return
        self._census.left(connection.flow.host)
        if connection.problem:
            self.failed_handshakes += 1
            if self._doorkeeper is not None and connection.dialled is None:
                self._doorkeeper.unreadable(connection.flow)
        address = connection.dialled or connection.flow._replace(connection=0)
        if self._by_address.get(address) is connection:
            del self._by_address[address]
            self._failed(address)
        self._failed(connection.flow)

    # time

    def _arm(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._sweep_interval, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        self.sweep()
        if self._connections:
            self._arm()

    def sweep(self) -> None:
        """Cut the connections that have used up their time; this happens by itself now and then."""
        now = self._clock()
        for connection in list(self._connections.values()):
            if connection.judge(self._limits, now):
                self.cut += 1
                connection.abort()

    def cut_source(self, source: str) -> int:
        """Cut the connections that a source has opened; how many."""
        found = [
            connection
            for connection in self._connections.values()
            if connection.dialled is None and source_of(connection.flow.host) == source
        ]
        for connection in found:
            connection.abort()
        return len(found)

    def stop_listening(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Stop accepting and close all connections."""
        self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)
        if self._sweep is not None:
            self._sweep.cancel()
