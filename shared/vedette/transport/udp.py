"""A UDP socket for SIP: large buffers, read until empty."""

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from collections.abc import Callable

from vedette.sip.flow import Flow

RECEIVE_BUFFER = 16 * 1024 * 1024
MAX_DATAGRAM = 65535
READS_PER_WAKEUP = 128
MAX_UNSENT = 4096
DISCARD = 9
"""The port that answers nothing (RFC 863)."""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33


class UdpTransport:
    """Datagrams in and out of one bound socket.

    `received` gets the datagrams of one wake-up together, so that their effects can leave together.
    """

    def __init__(
        self, host: str, port: int, received: Callable[[list[tuple[bytes, Flow]]], None], *, reuse_port: bool = False
    ) -> None:
        """Bind; OSError where the address is taken or not ours. Port 0: any free one."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._received = received
        self._unsent: deque[tuple[Flow, bytes]] = deque()
        self.dropped = 0
        """Datagrams that the kernel did not take."""
        try:
            self._socket.setblocking(False)
            if family == socket.AF_INET6:
                # As asyncio does for TCP: IPv4 has a socket of its own.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
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
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def send(self, flow: Flow, data: bytes) -> None:
        """Send a datagram; what the kernel cannot take now leaves as soon as it can."""
        if self._unsent:
            self._queue(flow, data)
            return
        try:
            self._socket.sendto(data, (flow.host, flow.port))
        except BlockingIOError:
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._writable)
            self._queue(flow, data)
        except OSError:
            self.dropped += 1  # as if lost on the way: the transaction retransmits or gives up

    def _queue(self, flow: Flow, data: bytes) -> None:
        if len(self._unsent) >= MAX_UNSENT:
            self.dropped += 1
        else:
            self._unsent.append((flow, data))

    def _writable(self) -> None:
        while self._unsent:
            flow, data = self._unsent[0]
            try:
                self._socket.sendto(data, (flow.host, flow.port))
            except BlockingIOError:
                return
            except OSError:
                self.dropped += 1
            self._unsent.popleft()
        asyncio.get_running_loop().remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        batch: list[tuple[bytes, Flow]] = []
        receive = self._socket.recvfrom
        for _ in range(READS_PER_WAKEUP):
            try:
                data, address = receive(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error of an earlier send
            batch.append((data, Flow("udp", address[0], address[1])))
        if batch:
            self._received(batch)

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
        loop.remove_reader(self._socket.fileno())
        loop.remove_writer(self._socket.fileno())
        self._socket.close()
