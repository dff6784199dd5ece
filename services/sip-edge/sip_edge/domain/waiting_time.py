"""How long a request would wait for presence-core, by what the last batches took. Pure.

Batches are what is waited for: a replica takes as long for one request as for many, up to a point. So the time is
that of a batch, and what is ready beyond all the batches that may be under way adds what it takes at the rate at
which full batches come back. What waits behind others of its own lane is in nobody else's way: it counts for that
lane alone. What was measured a while ago tells nothing of now.
"""

from vedette.sip.message import Request

WEIGHT = 0.25
"""Of the newest batch."""
LARGE = 4
"""A batch of this part of the largest shows the rate."""
ASSUMED_RATE = 1000.0
"""Requests a second, until a large batch has come back."""
REMEMBERED = 10.0
"""Seconds that a measurement holds."""
LANE_FREE = 32
"""Calls of one lane that may wait however long it takes: fewer come by chance."""
NEW_SHARE = 0.5
"""What begins something is refused at this part of the limit: what carries something on is worth more."""


class WaitingTime:
    """`came_back` for each batch, then `estimate` and `estimate_lane`. `now` is any clock that only goes forward."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._batch = 0.0
        self._batch_until = 0.0
        self._per_request = 0.0
        self._rate_until = 0.0

    def came_back(self, size: int, seconds: float, now: float) -> None:
        """A batch of so many requests is back after that time."""
        self._batch += (WEIGHT if now < self._batch_until else 1.0) * (seconds - self._batch)
        self._batch_until = now + REMEMBERED
        if size * LARGE >= self._max_batch:
            self._per_request += (WEIGHT if now < self._rate_until else 1.0) * (seconds / size - self._per_request)
            self._rate_until = now + REMEMBERED

    def estimate(self, ready: int, slots: int, stalled: float, now: float) -> float:
        """Seconds. `ready` could be sent, `slots` batches may be under way, the last came `stalled` s ago.

        Less than a batch that is ready is no load, however long it takes: refusing it would make nothing faster.
        """
        if ready < self._max_batch:
            return 0.0
        per_request = self._per_request / slots if now < self._rate_until else 1 / ASSUMED_RATE
        beyond = max(0, ready - slots * self._max_batch)
        return max(self._batch_time(now), stalled) + beyond * per_request

    def estimate_lane(self, ahead: int, stalled: float, now: float) -> float:
        """Seconds that so many of the same lane take, which go one by one; `stalled` as for `estimate`."""
        return 0.0 if ahead < LANE_FREE else max(ahead * self._batch_time(now), stalled)

    def _batch_time(self, now: float) -> float:
        return self._batch if now < self._batch_until else 0.0


def begins(request: Request) -> bool:
    """Whether a PUBLISH or SUBSCRIBE begins something: no refresh, change or end of what there is."""
    return not request.to.tag and "sip-if-match" not in request.headers.rows


def is_too_long(seconds: float, limit: float, *, new: bool) -> bool:
    """Whether a request has to be refused that would wait so long; `limit` 0: never."""
    return bool(limit) and seconds > (limit * NEW_SHARE if new else limit)
