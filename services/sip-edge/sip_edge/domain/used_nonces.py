"""How far nonces were used: a nonce count that comes again is a replay (RFC 7616 sections 3.4 and 5.5). Pure.

A copy of the very request that was taken last (another edge, a proxy that fails over) is none: it is answered as the
original was.
"""

from collections import OrderedDict
from typing import NamedTuple


class _Use(NamedTuple):
    made: int
    number: int
    request: bytes


class UsedNonces:
    """The last nonce count of each nonce, for as long as the nonce is good; at most `limit` of them."""

    def __init__(self, limit: int, since: int = 0) -> None:
        """Nonces made before `since`, seconds since the epoch, may have been used already: they are none any more."""
        self._limit = limit
        self._since = since
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def take(self, nonce: str, made: int, count: int, request: bytes) -> bool:
        """Whether this use is a new one, which is then remembered; counts may have gaps but never go back.

        `request` tells a request from every other one. Where there is no room, the nonce that was used first is
        forgotten, and with it all that are not known and as old.
        """
        use = self._uses.get(nonce)
        if use is None:
            if made < self._since:
                return False
        elif count <= use.number:
            return (count, request) == (use.number, use.request)
        self._uses[nonce] = _Use(made, count, request)
        if len(self._uses) > self._limit:
            _, oldest = self._uses.popitem(last=False)
            # Never beyond this one: the clock of the edge that made the oldest may be ahead.
            self._since = max(self._since, min(oldest.made + 1, made))
        return True

    def forget(self, made_before: int) -> None:
        """Nonces made before that are not good any more, and need not be remembered."""
        while self._uses:
            nonce = next(iter(self._uses))
            if self._uses[nonce].made >= made_before:
                return
            del self._uses[nonce]
