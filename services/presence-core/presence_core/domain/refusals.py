"""Refusals as values: each a reply with the headers its status code needs."""

from vedette.events.package import EventPackage
from vedette.events.registry import ALLOW_EVENTS
from vedette.rpc.contract import UNKNOWN, Reply
from vedette.sip.errors import SipError

RETRY_AFTER = 2
"""Seconds to wait after 503, at least."""
RETRY_LATEST = 10
"""At most: those who are refused together do not come back together."""


def bad_request(reason: str) -> Reply:
    """400 with a reason phrase that names the problem."""
    return Reply(400, reason)


def malformed(error: SipError) -> Reply:
    """The status that the grammar error hints at."""
    return Reply(error.status, error.reason)


def not_found() -> Reply:
    """404: no resource of that name here (RFC 3903 section 6 step 1)."""
    return Reply(404)


def bad_event() -> Reply:
    """489 with Allow-Events (RFC 6665 section 8.3.2)."""
    return Reply(489, headers=[("Allow-Events", ALLOW_EVENTS)])


def unsupported_type(types: tuple[str, ...]) -> Reply:
    """415 with the media types that are understood (RFC 3261 section 8.2.3)."""
    return Reply(415, headers=[("Accept", ", ".join(types))])


def unsupported_encoding() -> Reply:
    """415 with the encodings that are understood."""
    return Reply(415, headers=[("Accept-Encoding", "identity")])


def too_brief(minimum: int) -> Reply:
    """423 with Min-Expires (RFC 3903 section 6 step 4)."""
    return Reply(423, headers=[("Min-Expires", str(minimum))])


def not_acceptable(package: EventPackage) -> Reply:
    """406 with the media types that a NOTIFY may carry (RFC 6665 section 4.1.2.1)."""
    return Reply(406, headers=[("Accept", ", ".join(package.notify_types))])


NOT_YOUR_PRESENTITY = Reply(403, "Not your presentity")
NOT_YOUR_SUBSCRIPTION = Reply(403, "Not your subscription")
NOT_ALLOWED_TO_WATCH = Reply(403, "Not allowed to watch")
NOT_YOUR_REGISTRATION = Reply(403, "Not your registration")
CONDITIONAL_FAILED = Reply(412)
NO_SUBSCRIPTION = Reply(481)
OTHER_USAGE = Reply(403, "Dialog belongs to another subscription")
OUT_OF_ORDER = Reply(500, "CSeq out of order")
TOO_MANY_PUBLICATIONS = Reply(403, "Too many publications")
TOO_MANY_WATCHERS = Reply(403, "Too many watchers")
TOO_MANY_SUBSCRIPTIONS = Reply(403, "Too many subscriptions")
TOO_MANY_CONTACTS = Reply(403, "Too many contacts")
CANNOT_STORE = Reply(500, "Cannot be stored")


def unavailable(retry_after: int) -> Reply:
    """503: not now, but in so many seconds (RFC 3261 section 21.5.4)."""
    return Reply(503, headers=[("Retry-After", str(retry_after))])


UNAVAILABLE = unavailable(RETRY_AFTER)
ASK_AGAIN = Reply(UNKNOWN)
