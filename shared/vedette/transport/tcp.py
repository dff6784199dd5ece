"""SIP on a byte stream, plain or inside TLS (RFC 3261 section 18.3, RFC 5626 section 4.4.1)."""

from vedette.sip.framing import Framed, KeepAlive, StreamFramer

PONG = b"\r\n"
_LINE_END = 2


class StreamWire:
    """The wire of TCP and TLS."""

    is_open = True
    is_over = False

    def __init__(self, *, max_body: int) -> None:
        """`max_body`: octets of a body; a larger one ends the connection."""
        self._framer = StreamFramer(max_body=max_body)
        self._pongs = 0

    @property
    def is_unfinished(self) -> bool:
        """Whether more is kept than a line end, which may become a ping or be followed by nothing."""
        return self._framer.pending > _LINE_END

    def receive(self, data: bytes) -> list[Framed]:
        """The messages that these octets complete; pings are answered."""
        found: list[Framed] = []
        for item in self._framer.receive(data):
            if item is KeepAlive.PING:
                self._pongs += 1
            elif isinstance(item, Framed):
                found.append(item)
        return found

    def time_passed(self) -> None:
        """Nothing."""

    def answers(self) -> bytes:
        """A pong for each ping."""
        pongs, self._pongs = self._pongs, 0
        return PONG * pongs

    def wrap(self, message: bytes) -> bytes:
        """The message."""
        return message

    def ping(self) -> bytes:
        """Nothing: on a stream the client asks (RFC 5626 section 4.4.1)."""
        return b""

    def last_words(self) -> bytes:
        """Nothing."""
        return b""
