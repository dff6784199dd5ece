"""SIP over WebSocket, server side (RFC 7118): one message in each WebSocket message, text or binary."""

import logging
from collections.abc import Sequence

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from vedette.sip.errors import NotSipError
from vedette.sip.framing import Framed

SUBPROTOCOL = Subprotocol("sip")
MAX_OPENING = 16384
"""Octets of the HTTP request that opens a WebSocket."""
MAX_HEAD = 65536
"""Octets of a SIP message beside its body, as on a stream."""
MAX_IDLE_FRAMES = 1000
"""Frames between two looks at the clock that complete no SIP message: a frame of six octets costs as much as the
reading of a message, and nobody has to send many."""
AT_ONCE = 4096
"""Octets that are read before frames are counted."""
PING = b"\r\n\r\n"
PONG = b"\r\n"
_LINE_ENDS = b"\r\n"

_logger = logging.getLogger("vedette.websocket")
_logger.setLevel(logging.CRITICAL)  # what strangers do wrong is counted, not logged


class WebSocketWire:
    """The wire of WS and WSS. The frames are read and written by `websockets`, without its I/O."""

    def __init__(self, *, max_body: int, origins: Sequence[str] = ()) -> None:
        """`max_body`: octets of a body; `origins`: web sites whose scripts may connect, empty: all and none."""
        self._protocol = ServerProtocol(
            subprotocols=[SUBPROTOCOL],
            origins=[Origin(origin) for origin in origins] or None,
            max_size=MAX_HEAD + max_body,
            logger=_logger,
        )
        self._opening = bytearray()
        self._parts: bytearray | None = None
        self._is_text = False
        self._idle_frames = 0
        self.is_over = False

    @property
    def is_open(self) -> bool:
        """Whether the far end was accepted and nobody has closed."""
        return self._protocol.state is State.OPEN

    @property
    def is_unfinished(self) -> bool:
        """Whether part of a frame or of a fragmented message is kept."""
        return self._parts is not None or bool(self._protocol.reader.buffer)

    def receive(self, data: bytes) -> list[Framed]:
        """The SIP messages that these octets complete."""
        if self.is_over:
            return []
        if self._protocol.state is State.CONNECTING:
            data = self._open(data)
        found: list[Framed] = []
        for place in range(0, len(data), AT_ONCE):
            if not self._read(data[place : place + AT_ONCE], found):
                break
        return found

    def _read(self, data: bytes, found: list[Framed]) -> bool:
        """Whether more may follow."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                before = len(found)
                self._take(event, found)
                self._idle_frames += len(found) == before
        if self._idle_frames > MAX_IDLE_FRAMES:
            found.append(Framed(b"", NotSipError("Too many frames without a message")))
            self.is_over = True
        elif self._protocol.close_expected() or self._protocol.state is State.CLOSED:
            self.is_over = True
        return not self.is_over

    def time_passed(self) -> None:
        """Forget how many frames came without a message."""
        self._idle_frames = 0

    def _open(self, data: bytes) -> bytes:
        """Read the HTTP request and answer it; what came after it."""
        searched = max(0, len(self._opening) - 3)
        self._opening += data
        end = self._opening.find(b"\r\n\r\n", searched)
        if end < 0 and len(self._opening) <= MAX_OPENING:
            return b""
        head, rest = bytes(self._opening[: end + 4]), bytes(self._opening[end + 4 :])
        self._opening.clear()
        if not 0 <= end <= MAX_OPENING:
            self.is_over = True
            return b""
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
        self.is_over = self._protocol.state is not State.OPEN
        return rest

    def _take(self, frame: Frame, found: list[Framed]) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._message(bytes(frame.data), found)
            else:
                self._parts = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._parts is not None:
            self._parts += frame.data
            if frame.fin:
                message, self._parts = bytes(self._parts), None
                self._message(message, found)

    def _message(self, data: bytes, found: list[Framed]) -> None:
        if self._is_text and not _is_utf8(data):
            if self.is_open:
                self._protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
        elif data.strip(_LINE_ENDS):
            found.append(Framed(data))
        elif data == PING and self.is_open:
            self._protocol.send_text(PONG)

    def answers(self) -> bytes:
        """Handshake, pongs and close frames."""
        return b"".join(self._protocol.data_to_send())

    def wrap(self, message: bytes) -> bytes:
        """A text frame, or a binary one for what is not UTF-8 (RFC 7118 section 4.2)."""
        if _is_utf8(message):
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        return self.answers()

    def ping(self) -> bytes:
        """A ping frame; browsers answer it without a script."""
        if not self.is_open:
            return b""
        self._protocol.send_ping(b"")
        return self.answers()

    def last_words(self) -> bytes:
        """A close frame, where none was sent."""
        if not self.is_open:
            return b""
        self._protocol.send_close(CloseCode.GOING_AWAY)
        return self.answers()


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
