"""A SIP endpoint: sockets, transactions and one timer, driven by asyncio."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from vedette.sip.errors import NotSipError, SipError
from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.stun import answer_binding
from vedette.sip.transaction.layer import (
    ClientTransaction,
    RequestFinished,
    ServerTransaction,
    TransactionLayer,
)
from vedette.sip.transaction.timers import Timers
from vedette.transport.doorkeeper import Doorkeeper
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.streams import StreamTransport
from vedette.transport.tcp import StreamWire
from vedette.transport.tls import TlsContexts
from vedette.transport.udp import UdpTransport
from vedette.transport.websocket import WebSocketWire
from vedette.transport.wire import Wire

_OWN_BRANCH = re.compile(rb"[A-Z]+ [^\r\n]+ SIP/2\.0\r\nVia: [^\r\n]*?;branch=([!-+\--:<-~]+)[;\r]")
"""Of a request of ours, whose first line is a Via, in octets that may end anywhere after it."""
_PADDING = b"\r\n\0 \t"
TIMERS_TOGETHER = 0.01
"""Times T1: timers that end within this of each other are looked at once."""
_BY_LENGTH = frozenset({"tcp", "tls"})
"""Transports on which only Content-Length tells where a message ends."""


class EndpointUser(Protocol):
    """What sits above an endpoint."""

    def request_received(self, request: Request, flow: Flow) -> None:
        """A request that has not been checked; ACK too. Call `Endpoint.begin` for it, or answer without state."""

    def request_finished(self, finished: RequestFinished) -> None:
        """A request of ours has ended."""

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        """A response that belongs to none of our transactions."""


class Endpoint:
    """The sockets of one server or user agent, with the transactions of everything that passes."""

    def __init__(
        self,
        user: EndpointUser,
        timers: Timers,
        *,
        limits: ConnectionLimits | None = None,
        max_body: int = 262_144,
        tls: TlsContexts | None = None,
        origins: Sequence[str] = (),
        ends_bounced: bool = False,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        """`tls`: the certificates, without which there is no TLS and no WSS; `max_body` in octets.

        `origins`: the web sites whose scripts may connect over WebSocket; empty: all. `ends_bounced`: a request over
        UDP that reached a host where nobody listens has ended (RFC 3261 section 18.4), and does not wait for Timer F.
        """
        self._user = user
        self._ends_bounced = ends_bounced
        self._doorkeeper = doorkeeper
        self._loop = asyncio.get_running_loop()
        self.layer = TransactionLayer(timers)
        self._udp: dict[bool, UdpTransport] = {}
        self._streams: dict[str, StreamTransport] = {}
        self._census = Census(limits or ConnectionLimits())

        def streams(kind: str, make_wire: Callable[[], Wire], contexts: TlsContexts | None, *, dials: bool) -> None:
            self._streams[kind] = StreamTransport(
                kind,
                make_wire=make_wire,
                received=self._stream_message,
                failed=self._flow_failed,
                limits=limits or ConnectionLimits(),
                census=self._census,
                tls=contexts,
                dials=dials,
                doorkeeper=doorkeeper,
            )

        streams("tcp", lambda: StreamWire(max_body=max_body), None, dials=True)
        streams("ws", lambda: WebSocketWire(max_body=max_body, origins=origins), None, dials=False)
        if tls is not None:
            streams("tls", lambda: StreamWire(max_body=max_body), tls, dials=True)
            streams("wss", lambda: WebSocketWire(max_body=max_body, origins=origins), tls, dials=False)
        self._between_looks = timers.t1 * TIMERS_TOGETHER
        self._next_look = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._draining = False
        self.not_sip = 0
        """Datagrams and stream messages dropped because they are no SIP."""
        self.broken_responses = 0

    async def open(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen on UDP and TCP; the port, with port 0 a free one. OSError where the address is taken.

        May be called once for IPv4 and once for IPv6.
        """
        for _ in range(20):
            udp = UdpTransport(
                host,
                port,
                self._datagrams,
                reuse_port=reuse_port,
                bounced=self._request_bounced if self._ends_bounced else None,
            )
            try:
                await self._streams["tcp"].listen(host, udp.address[1], reuse_port=reuse_port)
            except OSError:
                udp.close()
                if port:
                    raise
                continue
            self._udp[":" in host] = udp
            udp.start()
            return udp.address[1]
        raise OSError("no port is free on both UDP and TCP")

    async def open_stream(self, transport: str, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen on `tls`, `ws` or `wss`; the port. OSError as `open`."""
        streams = self._streams[transport]
        await streams.listen(host, port, reuse_port=reuse_port)
        return streams.addresses[-1][1]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on for UDP and TCP, the first of them."""
        return self._streams["tcp"].addresses[0]

    def is_open(self, flow: Flow) -> bool:
        """Whether the flow's own connection is open."""
        streams = self._streams.get(flow.transport)
        return streams is not None and streams.has(flow)

    @property
    def connections(self) -> dict[str, int]:
        """How many connections are open, by transport."""
        return {kind: len(streams) for kind, streams in self._streams.items() if len(streams)}

    @property
    def connections_refused(self) -> int:
        """Connections that were closed at once because there were too many."""
        return sum(streams.refused for streams in self._streams.values())

    @property
    def connections_cut(self) -> int:
        """Connections that were cut because they were silent or slow for too long."""
        return sum(streams.cut for streams in self._streams.values())

    @property
    def failed_handshakes(self) -> int:
        """Connections that TLS has ended."""
        return sum(streams.failed_handshakes for streams in self._streams.values())

    @property
    def datagrams_dropped(self) -> int:
        """Datagrams that the kernel did not take."""
        return sum(udp.dropped for udp in self._udp.values())

    def now(self) -> float:
        """The clock of the transactions."""
        return self._loop.time()

    # sending

    def begin(self, request: Request, flow: Flow) -> ServerTransaction | None:
        """The transaction of a request that passed `check`; None for a retransmission, which is dealt with."""
        transaction = self.layer.receive_request(request, flow, self.now())
        if transaction is None:
            self._drain()
        return transaction

    def respond(self, transaction: ServerTransaction, data: bytes) -> None:
        """Send the final response."""
        self.layer.respond(transaction, data, final=True, now=self.now())
        self._drain()

    def send_request(
        self, *, branch: str, method: str, data: bytes, flow: Flow, context: object = None
    ) -> ClientTransaction:
        """Send a request; `request_finished` tells how it ended."""
        transaction = self.layer.send_request(
            branch=branch, method=method, data=data, flow=flow, now=self.now(), context=context
        )
        self._drain()
        return transaction

    def send_stateless(self, flow: Flow, data: bytes) -> None:
        """Send a message that no transaction keeps."""
        self._send(flow, data)

    def receive_foreign(self, data: bytes, flow: Flow) -> None:
        """A datagram that another process got and that is ours."""
        self._receive(data, flow, stream=False)
        self._drain()

    # receiving

    def _datagrams(self, batch: list[tuple[bytes, Flow]]) -> None:
        keeper = self._doorkeeper
        self._draining = True
        try:
            if keeper is None or not keeper.watches:
                for data, flow in batch:
                    self._receive(data, flow, stream=False)
            else:
                for data, flow in batch:
                    if keeper.lets_in(data, flow):
                        self._receive(data, flow, stream=False)
        finally:
            self._draining = False
            self._drain()

    def _stream_message(self, framed: Framed, flow: Flow) -> None:
        keeper = self._doorkeeper
        if not framed.data:
            self._not_sip(flow)
        elif keeper is None or not keeper.watches or keeper.lets_in(framed.data, flow):
            self._receive(framed.data, flow, stream=flow.transport in _BY_LENGTH, error=framed.error)
        self._drain()

    def _receive(self, data: bytes, flow: Flow, *, stream: bool, error: SipError | None = None) -> None:
        try:
            message = read_message(data, stream=stream)
        except NotSipError:
            self._receive_other(data, flow)
            return
        except SipError:
            self._broken_response(flow)
            return
        if isinstance(message, Request):
            if error is not None:
                message.defect = error
            self._user.request_received(message, flow)
            return
        try:
            ours = self.layer.receive_response(message, self.now())
        except SipError:
            self._broken_response(flow)
            return
        if not ours:
            self._user.stray_response(message, data, flow)

    def _request_bounced(self, octets: bytes) -> None:
        """The first octets of something that we sent, and that nobody listened to."""
        found = _OWN_BRANCH.match(octets)
        if found is not None:
            self.layer.fail_branch(found.group(1).decode("ascii"), self.now())
            self._drain()

    def _receive_other(self, data: bytes, flow: Flow) -> None:
        """What has no SIP start line: STUN is answered, padding is nothing, the rest is counted."""
        if not data.strip(_PADDING):
            return
        answer = answer_binding(data, flow.host, flow.port) if flow.transport == "udp" else None
        if answer is not None:
            self._send(flow, answer)
        else:
            self._not_sip(flow)

    def _not_sip(self, flow: Flow) -> None:
        self.not_sip += 1
        if self._doorkeeper is not None:
            self._doorkeeper.unreadable(flow)

    def _broken_response(self, flow: Flow) -> None:
        self.broken_responses += 1
        if self._doorkeeper is not None:
            self._doorkeeper.unreadable(flow)

    def _flow_failed(self, flow: Flow) -> None:
        self.layer.fail_flow(flow, self.now())
        self._drain()

    # what the layer wants

    def _drain(self) -> None:
        """Carry out what the layer wants; while a batch of datagrams is read, once at its end."""
        if self._draining:
            return
        self._draining = True
        try:
            while self.layer.has_work:
                for flow, data in self.layer.outgoing():
                    self._send(flow, data)
                for finished in self.layer.events():
                    self._user.request_finished(finished)
        finally:
            self._draining = False
        self._arm()

    def _send(self, flow: Flow, data: bytes) -> None:
        if flow.transport == "udp":
            udp = self._udp.get(":" in flow.host)
            if udp is not None:
                udp.send(flow, data)
            return
        streams = self._streams.get(flow.transport)
        if streams is not None:
            streams.send(flow, data)
        else:
            self._loop.call_soon(self._flow_failed, flow)

    def _arm(self) -> None:
        deadline = self.layer.next_timer()
        if deadline is None or deadline >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(max(deadline, self._next_look), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        now = self.now()
        self._next_look = now + self._between_looks
        self.layer.handle_timer(now)
        self._drain()

    def cut(self, source: str) -> int:
        """Cut the connections of a source, as `source_of` names it; how many."""
        return sum(streams.cut_source(source) for streams in self._streams.values())

    def leave_to_siblings(self) -> None:
        """Get no more datagrams and connections where other processes share our port: they get them.

        What is open goes on; a response that a sibling gets comes by `receive_foreign`.
        """
        for udp in self._udp.values():
            udp.leave_to_siblings()
        for streams in self._streams.values():
            streams.stop_listening()

    async def close(self) -> None:
        """Close all sockets and forget all transactions."""
        if self._timer is not None:
            self._timer.cancel()
        for udp in self._udp.values():
            udp.close()
        self._udp.clear()
        for streams in self._streams.values():
            await streams.close()
