"""A UDP socket for SIP: large buffers, read until empty; hears where nobody listens (Linux only)."""

import asyncio
import contextlib
import ipaddress
import select
import socket
import struct
from collections import deque
from collections.abc import Callable

from vedette.sip.flow import Flow

RECEIVE_BUFFER = 16 * 1024 * 1024
MAX_DATAGRAM = 65535
READS_PER_WAKEUP = 128
MAX_UNSENT = 4096
DISCARD = 9
"""The port that answers nothing (RFC 863)."""

MAX_BOUNCED = 1024
"""Octets of a datagram that an ICMP message brings back; as a rule it has 548 or fewer."""
SEND_TRIES = 3

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""Level and number of IP_RECVERR and IPV6_RECVERR."""
_PORT_UNREACHABLE = {(2, 3, 3), (3, 1, 4)}
"""Origin (ICMP, ICMPv6), type and code of such an error (RFC 792, RFC 4443 section 3.1)."""


class UdpTransport:
    """Datagrams in and out of one bound socket.

    `received` gets the datagrams of one wake-up together, so that their effects can leave together.
    """

    def __init__(
        self,
        host: str,
        port: int,
        received: Callable[[list[tuple[bytes, Flow]]], None],
        *,
        reuse_port: bool = False,
        bounced: Callable[[bytes], None] | None = None,
    ) -> None:
        """Bind; OSError where the address is taken or not ours. Port 0: any free one.

        `bounced` gets what came back, in its first octets, from a host where nobody listens on the port (ICMP port
        unreachable). Other ICMP errors may pass, and are left to the timers.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._received = received
        self._bounced = bounced
        self._readiness: select.epoll | None = None
        self._writability: select.epoll | None = None
        self._awaits_room = False
        self._unsent: deque[tuple[Flow, bytes]] = deque()
        self.dropped = 0
        """Datagrams that the kernel did not take."""
        try:
            self._socket.setblocking(False)
            if family == socket.AF_INET6:
                # As asyncio does for TCP: IPv4 has a socket of its own.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if bounced is not None:
                self._socket.setsockopt(*_ERRORS[family], 1)
            if reuse_port:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for option, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
                self._enlarge(option, forced)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def _enlarge(self, option: int, forced: int) -> None:
        """As large as root may have it, else as large as the system grants."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, RECEIVE_BUFFER)
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)

    def start(self) -> None:
        """Begin to read."""
        watched = self._socket.fileno()
        if self._bounced is not None:
            # The loops of libuv stop watching what has an error to tell, so they watch somebody who watches it.
            self._readiness, self._writability = select.epoll(), select.epoll()
            self._readiness.register(watched, select.EPOLLIN)
            watched = self._readiness.fileno()
        asyncio.get_running_loop().add_reader(watched, self._readable)

    def _await_room(self) -> None:
        self._awaits_room = True
        loop = asyncio.get_running_loop()
        if self._writability is None:
            loop.add_writer(self._socket.fileno(), self._writable)
        else:
            self._writability.register(self._socket.fileno(), select.EPOLLOUT)
            loop.add_reader(self._writability.fileno(), self._writable)

    def _await_no_room(self) -> None:
        if not self._awaits_room:
            return
        self._awaits_room = False
        loop = asyncio.get_running_loop()
        if self._writability is None:
            loop.remove_writer(self._socket.fileno())
        else:
            loop.remove_reader(self._writability.fileno())
            self._writability.unregister(self._socket.fileno())

    def send(self, flow: Flow, data: bytes) -> None:
        """Send a datagram; what the kernel cannot take now leaves as soon as it can."""
        if self._unsent:
            self._queue(flow, data)
            return
        try:
            self._send_now(flow, data)
        except BlockingIOError:
            self._await_room()
            self._queue(flow, data)
        except OSError:
            self.dropped += 1  # as if lost on the way: the transaction retransmits or gives up

    def _send_now(self, flow: Flow, data: bytes) -> None:
        for left in reversed(range(SEND_TRIES)):
            try:
                self._socket.sendto(data, (flow.host, flow.port))
            except BlockingIOError:
                raise
            except OSError:
                # It may be told here that an earlier one bounced; then this one has not been sent.
                if self._bounced is None or not left:
                    raise
            else:
                return

    def _queue(self, flow: Flow, data: bytes) -> None:
        if len(self._unsent) >= MAX_UNSENT:
            self.dropped += 1
        else:
            self._unsent.append((flow, data))

    def _writable(self) -> None:
        while self._unsent:
            flow, data = self._unsent[0]
            try:
                self._send_now(flow, data)
            except BlockingIOError:
                return
            except OSError:
                self.dropped += 1
            self._unsent.popleft()
        self._await_no_room()

    def _readable(self) -> None:
        batch: list[tuple[bytes, Flow]] = []
        told = False
        receive = self._socket.recvfrom
        for _ in range(READS_PER_WAKEUP):
            try:
                data, address = receive(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                told = True  # an ICMP error of an earlier send
                continue
            batch.append((data, Flow("udp", address[0], address[1])))
        if batch:
            self._received(batch)
        if self._bounced is not None and (told or not batch):
            self._read_errors(self._bounced)

    def _read_errors(self, bounced: Callable[[bytes], None]) -> None:
        for _ in range(READS_PER_WAKEUP):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(MAX_BOUNCED, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return  # there are no more
            errors = [value for level, kind, value in ancillary if (level, kind) in _ERRORS.values()]
            if any(struct.unpack_from("4xBBB", error) in _PORT_UNREACHABLE for error in errors):
                bounced(data)

    def leave_to_siblings(self) -> None:
        """Have the kernel give what comes to the other sockets that share our port; we can still send.

        A socket that is connected gets datagrams of its far end only: this one has a far end that sends none. One
        that is bound to all addresses would lose them all but one by that, and is left as it is.
        """
        if ipaddress.ip_address(self.address[0]).is_unspecified:
            return
        with contextlib.suppress(OSError):
            self._socket.connect((self.address[0], DISCARD))

    def close(self) -> None:
        """Stop reading and close."""
        loop = asyncio.get_running_loop()
        self._await_no_room()
        loop.remove_reader(self._socket.fileno() if self._readiness is None else self._readiness.fileno())
        for watch in (self._readiness, self._writability):
            if watch is not None:
                watch.close()
        self._socket.close()
