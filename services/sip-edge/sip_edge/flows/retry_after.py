"""How long those who are refused are asked to stay away: each for a time of his own."""

import secrets

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST


def some_seconds() -> int:
    """Seconds for Retry-After."""
    return RETRY_SOONEST + secrets.randbelow(RETRY_LATEST - RETRY_SOONEST + 1)
