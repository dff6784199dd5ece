"""How many connections there may be, how long they may be silent, and who has how many."""

from dataclasses import dataclass

from vedette.sip.source import source_of


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """For all connections of one endpoint, whatever their transport; times in seconds."""

    total: int = 10_000
    per_source: int = 1_000
    """Accepted from one IPv4 address or one IPv6 /64, which one customer has."""
    opening: float = 10.0
    """Until the handshakes of TLS and WebSocket are done."""
    message: float = 20.0
    """Until a message that has begun is complete, and until a far end reads again that had stopped."""
    first_message: float = 60.0
    """Until a connection that others opened carries its first message."""
    idle: float = 3900.0
    """Without an octet from the far end: longer than the subscriptions that NOTIFYs go over it for."""
    ping: float = 30.0
    """Silence after which a WebSocket is pinged; one that does not answer three of them is gone."""


class Census:
    """The connections that are open, by source."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._by_source: dict[str, int] = {}
        self.total = 0

    def admit(self, host: str, *, accepted: bool) -> bool:
        """Whether there is room for one more, which is then counted; `left` ends it."""
        source = source_of(host)
        here = self._by_source.get(source, 0)
        if self.total >= self._limits.total or (accepted and here >= self._limits.per_source):
            return False
        self.total += 1
        self._by_source[source] = here + 1
        return True

    def left(self, host: str) -> None:
        """One that was admitted is gone."""
        source = source_of(host)
        self.total -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
