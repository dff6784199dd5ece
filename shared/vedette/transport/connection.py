"""One connection: its socket, TLS where it has it, its wire, and the times by which it is judged."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.transport.limits import ConnectionLimits
from vedette.transport.tls import TlsSession
from vedette.transport.wire import Wire

MAX_UNSENT_OCTETS = 4 * 1024 * 1024
CLOSING_PATIENCE = 5.0
MISSED_PINGS = 3

_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # The kernel finds out the far ends that are gone without a word, also those that wait for us.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 40_000),
)


class Owner(Protocol):
    """Who has the connections of one transport."""

    def opened(self, connection: "Connection") -> bool:
        """Whether the connection may stay."""

    def established(self, connection: "Connection") -> None:
        """Messages may be sent."""

    def framed(self, connection: "Connection", framed: Framed) -> None:
        """A message has come."""

    def lost(self, connection: "Connection") -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """Octets to messages and back."""

    def __init__(
        self,
        owner: Owner,
        kind: str,
        number: int,
        wire: Wire,
        session: TlsSession | None,
        *,
        clock: Callable[[], float],
        dialled: Flow | None = None,
    ) -> None:
        """`clock`: seconds that only go forward; `dialled`: the flow it was opened for from here; None: accepted."""
        self._owner = owner
        self._wire = wire
        self._session = session
        self._clock = clock
        self.dialled = dialled
        self.kind = kind
        self.number = number
        self.flow = Flow(kind, "", 0, number)
        self.transport: asyncio.Transport | None = None
        self.is_established = False
        self.carried = dialled is not None
        """Whether a message has come, or it is ours anyway."""
        self._born = self._heard = self._pinged = self._clock()
        self._message_since: float | None = None
        self._blocked_since: float | None = None
        self._closed_at: float | None = None

    @property
    def problem(self) -> str:
        """What was wrong with its TLS, empty where nothing was."""
        return "" if self._session is None else self._session.problem

    # told by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open, and stays where its owner has room."""
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None:  # reset before it was accepted
            self.transport.abort()
            return
        self.flow = Flow(self.kind, peer[0], peer[1], self.number)
        sock = transport.get_extra_info("socket")
        try:
            for option in _SOCKET_OPTIONS:
                sock.setsockopt(*option)
        except OSError:  # reset meanwhile
            self.transport.abort()
            return
        if not self._owner.opened(self):
            self.transport.abort()
            return
        if self._session is not None and self.dialled is not None:
            self._session.start()
            self._flush()
        self._look()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._heard = self._clock()
        if self._closed_at is not None:
            return
        plain = data
        if self._session is not None:
            plain = self._session.receive(data)
            self._flush()
        if plain:
            self._receive(plain)
        self._look()

    def _receive(self, plain: bytes) -> None:
        messages = self._wire.receive(plain)
        self._establish()  # the first message may come together with the end of the handshake
        for framed in messages:
            self._message_since = None
            self.carried = True
            self._owner.framed(self, framed)
            if framed.error is not None:
                self.close()
                return
        answers = self._wire.answers()
        if answers:
            self._write(answers)
        if not self._wire.is_unfinished:
            self._message_since = None
        elif self._message_since is None:
            self._message_since = self._heard

    def _look(self) -> None:
        """See what the far end has made of the connection."""
        over = self._wire.is_over or (self._session is not None and self._session.is_over)
        if over:
            self.close()
        else:
            self._establish()

    def _establish(self) -> None:
        has_tls = self._session is None or self._session.is_established
        if not self.is_established and has_tls and self._wire.is_open:
            self.is_established = True
            self._owner.established(self)

    def eof_received(self) -> None:
        """Nothing more comes: asyncio closes after what was written has left."""

    def pause_writing(self) -> None:
        """The far end does not read."""
        self._blocked_since = self._clock()

    def resume_writing(self) -> None:
        """It does again."""
        self._blocked_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        del exc
        self._owner.lost(self)

    # sending

    def send(self, message: bytes) -> bool:
        """Whether the message was taken; a far end that does not read loses its connection."""
        if not self.is_established or self._closed_at is not None or not self._wire.is_open:
            return False
        return self._write(self._wire.wrap(message))

    def _write(self, plain: bytes) -> bool:
        if self.transport is None or self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() + len(plain) > MAX_UNSENT_OCTETS:
            self.transport.abort()
            return False
        if self._session is None:
            self.transport.write(plain)
        elif self._session.is_over:
            return False
        else:
            self._session.send(plain)
            self._flush()
        return True

    def _flush(self) -> None:
        if self._session is not None and self.transport is not None and not self.transport.is_closing():
            octets = self._session.to_send()
            if octets:
                self.transport.write(octets)

    def close(self) -> None:
        """Close after what was written has left."""
        if self.transport is None or self._closed_at is not None:
            return
        last_words = self._wire.last_words()
        if last_words:
            self._write(last_words)
        if self._session is not None and self._session.is_established:
            self._session.close()
        self._flush()
        self._closed_at = self._clock()
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    # time

    def judge(self, limits: ConnectionLimits, now: float) -> bool:
        """Whether the connection has used up its time and has to go; pings it where that is due."""
        if self._closed_at is not None:
            return now - self._closed_at > CLOSING_PATIENCE
        self._wire.time_passed()
        if not self.is_established:
            return now - self._born > limits.opening
        if self._message_since is not None and now - self._message_since > limits.message:
            return True
        if self._blocked_since is not None and now - self._blocked_since > limits.message:
            return True
        silence = now - self._heard
        if silence > limits.idle or (not self.carried and now - self._born > limits.first_message):
            return True
        if min(silence, now - self._pinged) > limits.ping:
            ping = self._wire.ping()
            if ping:
                self._pinged = now
                self._write(ping)
                return silence > (MISSED_PINGS + 1) * limits.ping
        return False
