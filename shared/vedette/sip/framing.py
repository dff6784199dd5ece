"""Cutting a byte stream into SIP messages by Content-Length (RFC 3261 section 18.3, RFC 5626 section 4.4.1)."""

import re
from dataclasses import dataclass
from enum import Enum

from vedette.sip.errors import SipError

_CONTENT_LENGTH = re.compile(rb"(?im)^(?:content-length|l)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)")


class KeepAlive(Enum):
    """What stands between messages."""

    PING = "\r\n\r\n"
    """A double CRLF: the other side wants one CRLF back, at once."""


@dataclass(frozen=True, slots=True)
class Framed:
    """One message cut out of the stream; with an `error` it is the last one: the stream cannot be re-synchronised.

    `data` may then be only the head, and is empty where not even that is there.
    """

    data: bytes
    error: SipError | None = None


class StreamFramer:
    """Feed it with what arrived; it returns what is complete.

    `max_head` and `max_body` bound what one connection can make us keep, in octets.
    """

    def __init__(self, *, max_head: int = 65536, max_body: int = 1048576) -> None:
        self._buffer = bytearray()
        self._max_head = max_head
        self._max_body = max_body
        self._searched = 0
        self._wanted = 0
        """Octets of the message whose head is there; 0 while it is not."""
        self._broken = False

    @property
    def pending(self) -> int:
        """Octets of an unfinished message that are kept."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Framed | KeepAlive]:
        """The messages and pings that these octets complete; [] after an error."""
        found: list[Framed | KeepAlive] = []
        if self._broken:
            return found
        self._buffer += data
        while True:
            self._skip_line_ends(found)
            framed = self._next()
            if framed is None:
                return found
            found.append(framed)
            if framed.error is not None:
                self._broken = True
                return found

    def _skip_line_ends(self, found: list[Framed | KeepAlive]) -> None:
        """Drop CRLFs before a message, each pair of them a ping; a lone CR or CRLF may still become one."""
        buffer = self._buffer
        while buffer[:4] == b"\r\n\r\n":
            found.append(KeepAlive.PING)
            del buffer[:4]
        if buffer[:2] == b"\r\n" and len(buffer) > 2 and buffer[2:3] != b"\r":
            del buffer[:2]

    def _next(self) -> Framed | None:
        buffer = self._buffer
        if b"\r\n\r\n".startswith(buffer) or len(buffer) < self._wanted:
            return None
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self._max_head:
                return Framed(b"", SipError("Headers too long"))
            return None
        self._searched = 0
        head = bytes(buffer[: end + 4])
        if len(head) > self._max_head:
            return Framed(head, SipError("Headers too long"))
        values = {value.strip() for value in _CONTENT_LENGTH.findall(head)}
        if not values:
            return Framed(head, SipError("Missing Content-Length on a stream"))
        value = next(iter(values))
        if len(values) > 1 or not value.isdigit() or len(value) > 10:
            return Framed(head, SipError("Malformed Content-Length"))
        length = int(value)
        if length > self._max_body:
            return Framed(head, SipError("Body too large", status=413))
        self._wanted = len(head) + length
        if len(buffer) < self._wanted:
            self._searched = end
            return None
        message = bytes(buffer[: self._wanted])
        del buffer[: self._wanted]
        self._wanted = 0
        return Framed(message)
