"""What the answer to a NOTIFY means for its subscription (RFC 6665 section 4.2.2, RFC 5057)."""

from enum import StrEnum
from typing import NamedTuple

from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE

FATAL = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""The codes that remove a subscription, whatever else the response carries."""
LONGEST_RETRY = 3600
SILENCES = 5
"""So many NOTIFYs in a row without an answer end a subscription that the first one has not ended."""
SILENCE_PAUSE = 5.0
"""Seconds after the first of them until the next one; doubled by each more."""


class Verdict(StrEnum):
    """The words of `apply_outcomes_v3`."""

    DELIVERED = "delivered"
    ENDED = "ended"
    KEPT = "kept"
    AGAIN = "again"
    SILENT = "silent"
    UNCHANGED = "unchanged"
    UNSENT = "unsent"
    WAITS = "waits"


class Settlement(NamedTuple):
    """What to do with the dialog; seconds until the NOTIFY is owed again; why it ended."""

    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""


_DELIVERED = Settlement(Verdict.DELIVERED)


def settle(status: int, retry_after: int | None, *, end_sub_on_timeout: bool = True) -> Settlement:
    """The settlement for a final response, TIMEOUT, UNREACHABLE or FLOW_GONE.

    A watcher that only its own connection leads to, and whose connection is gone, may come back by another one: its
    NOTIFY stays owed until its next SUBSCRIBE, or the subscription's expiry.
    No answer at all ends the subscription, at once or, without `end_sub_on_timeout`, after SILENCES tries.
    Any other failure keeps the subscription: with Retry-After the state is sent again after that time (RFC 3261
    section 21.5.4), without it waits for the next change, since a failed NOTIFY must not cause another.
    """
    if 200 <= status < 300:
        return _DELIVERED
    if status in FATAL:
        return Settlement(Verdict.ENDED, reason="noresource" if status == 404 else "deactivated")
    if status == FLOW_GONE:
        return Settlement(Verdict.WAITS)
    if status in {TIMEOUT, UNREACHABLE}:
        reason = "timeout" if status == TIMEOUT else "giveup"
        if end_sub_on_timeout:
            return Settlement(Verdict.ENDED, reason=reason)
        return Settlement(Verdict.SILENT, SILENCE_PAUSE, reason)
    if retry_after is not None:
        return Settlement(Verdict.AGAIN, seconds=float(min(max(retry_after, 1), LONGEST_RETRY)))
    return Settlement(Verdict.KEPT)
