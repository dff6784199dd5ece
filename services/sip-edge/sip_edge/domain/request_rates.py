"""How many messages a source may send, and connections open: a token bucket for each. Pure.

Whoever sends more is told so once in a while (503) and not answered otherwise: the source of a datagram can be
forged, and nobody shall get more from us than was sent in his name.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum

from vedette.sip.source import source_of

MAX_SOURCES = 16_384
"""Sources whose buckets are kept; that of the one silent for longest is forgotten, and full when it comes again."""
REFUSAL_INTERVAL = 1.0
"""Seconds between two answers to a source that goes on."""
CONNECTION_COST = 5
"""Tokens of a connection: what accepting it costs, with a handshake of TLS, as against reading a message."""


class Verdict(Enum):
    """What becomes of a message."""

    WITHIN = "it is within the rate"
    REFUSE = "over it, and to be told"
    DROP = "over it, and has been told"


class _Bucket:
    __slots__ = ("at", "refused_at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.refused_at = at - REFUSAL_INTERVAL


class RequestRates:
    """`take` a token for each message of a source: an IPv4 address, or the /64 of an IPv6 one."""

    def __init__(
        self, rate: int, burst: int, *, is_exempt: Callable[[str], bool] | None = None, limit: int = MAX_SOURCES
    ) -> None:
        """`rate` in messages a second, 0: everything passes; `burst`: what a full bucket holds.

        `is_exempt` tells of an address whether it has no bucket; it is asked each time.
        """
        self.rate = rate
        self._burst = float(max(burst, 1))
        self._is_exempt = is_exempt
        self._limit = limit
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, host: str, now: float, cost: float = 1) -> Verdict:
        """Whether a message from that address may pass; at a cost that does not depend on how many there are.

        `cost` in tokens; a full bucket is enough for whatever costs more.
        """
        if not self.rate or (self._is_exempt is not None and self._is_exempt(host)):
            return Verdict.WITHIN
        source = host if ":" not in host else source_of(host)
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= self._limit:
                self._buckets.popitem(last=False)
            self._buckets[source] = _Bucket(max(self._burst - cost, 0), now)
            return Verdict.WITHIN
        self._buckets.move_to_end(source)
        tokens = bucket.tokens + (now - bucket.at) * self.rate
        bucket.at = now
        if tokens >= cost or tokens >= self._burst:
            bucket.tokens = max(min(tokens, self._burst) - cost, 0)
            return Verdict.WITHIN
        bucket.tokens = tokens
        if now - bucket.refused_at >= REFUSAL_INTERVAL:
            bucket.refused_at = now
            return Verdict.REFUSE
        return Verdict.DROP
