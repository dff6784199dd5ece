"""What the octets of a connection mean: where messages begin and end, and what is said between them."""

from typing import Protocol

from vedette.sip.framing import Framed


class Wire(Protocol):
    """One connection's reading and writing, without I/O."""

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent: the opening is done and nobody has ended it."""

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed once `answers` has left."""

    @property
    def is_unfinished(self) -> bool:
        """Whether a message has begun that is not complete."""

    def receive(self, data: bytes) -> list[Framed]:
        """The messages that these octets complete."""

    def time_passed(self) -> None:
        """A few seconds have passed since this was said last; for what is limited in time."""

    def answers(self) -> bytes:
        """What has to be sent for what was received (handshakes, pongs), taken out."""

    def wrap(self, message: bytes) -> bytes:
        """The octets of a message; only while `is_open`."""

    def ping(self) -> bytes:
        """A question whether the far end is there, empty where only the far end asks such."""

    def last_words(self) -> bytes:
        """What is sent before the connection is closed from here."""
