"""What the answer to a NOTIFY means for its subscription (RFC 6665 section 4.2.2, RFC 5057)."""

from enum import StrEnum
from typing import NamedTuple

from vedette.rpc.contract import TIMEOUT, UNREACHABLE

FATAL = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""The codes that remove a subscription, whatever else the response carries."""
LONGEST_RETRY = 3600


class Verdict(StrEnum):
    """The words of `apply_outcomes_v1`."""

    DELIVERED = "delivered"
    ENDED = "ended"
    KEPT = "kept"
    AGAIN = "again"


class Settlement(NamedTuple):
    """What to do with the dialog; seconds until the NOTIFY is owed again; why it ended."""

    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""


def settle(status: int, retry_after: int | None) -> Settlement:
    """The settlement for a final response, TIMEOUT or UNREACHABLE.

    Any other failure keeps the subscription: with Retry-After the state is sent again after that time (RFC 3261
    section 21.5.4), without it waits for the next change, since a failed NOTIFY must not cause another.
    """
    if 200 <= status < 300:
        return Settlement(Verdict.DELIVERED)
    if status in FATAL:
        return Settlement(Verdict.ENDED, reason="noresource" if status == 404 else "deactivated")
    if status in {TIMEOUT, UNREACHABLE}:
        return Settlement(Verdict.ENDED, reason="timeout" if status == TIMEOUT else "giveup")
    if retry_after is not None:
        return Settlement(Verdict.AGAIN, seconds=float(min(max(retry_after, 1), LONGEST_RETRY)))
    return Settlement(Verdict.KEPT)
