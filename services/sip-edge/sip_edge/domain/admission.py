"""What becomes of a request before presence-core sees it: the UAS core (RFC 3261 section 8.2)."""

from dataclasses import dataclass
from enum import Enum

from vedette.events.registry import ALLOW_EVENTS, PACKAGES
from vedette.sip.errors import SipError
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.uri import parse_uri
from vedette.sip.writer import Header

FORWARDED = frozenset({"PUBLISH", "SUBSCRIBE"})
REGISTERS = frozenset({"REGISTER"})
ALLOW = "CANCEL, ACK, OPTIONS, PUBLISH, SUBSCRIBE, NOTIFY"
ALLOW_REGISTER = f"{ALLOW}, REGISTER"
_KNOWN_BUT_NOT_SERVED = frozenset({"INVITE", "BYE", "REGISTER", "MESSAGE", "REFER", "INFO", "PRACK", "UPDATE"})
_SUPPORTED: frozenset[str] = frozenset()
"""Option tags (RFC 3261 section 19.2) that a request may require of us."""

MAX_URI = 2048
RETRY_SOONEST, RETRY_LATEST = 2, 10
"""Seconds that those who are refused for a time are spread over, so that they do not come back together."""


class Next(Enum):
    """Where a request goes that is not answered at once."""

    FORWARD = "to presence-core"
    CANCEL = "to the transaction that it cancels"
    IGNORE = "nowhere: ACK is never answered"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the edge gives by itself."""

    status: int
    reason: str = ""
    headers: tuple[Header, ...] = ()


def unavailable(retry_after: int) -> Refusal:
    """503: not now, but in so many seconds (RFC 3261 section 21.5.4)."""
    return Refusal(503, headers=(("Retry-After", str(retry_after)),))


def admit(request: Request, *, max_body: int, registrar: bool = False) -> Next | Refusal:
    """What to do with a request whose structure was checked, in the order of section 8.2: method, headers, content.

    `max_body` is in octets; `registrar`: REGISTER is served. NOTIFY gets 481: this server subscribes to nobody
    (RFC 6665 section 4.1.3).
    """
    method = request.method
    if method == "ACK":
        return Next.IGNORE
    if method == "CANCEL":
        return Next.CANCEL
    registers = registrar and method in REGISTERS
    if method in _KNOWN_BUT_NOT_SERVED and not registers:
        return Refusal(405, headers=(("Allow", ALLOW_REGISTER if registrar else ALLOW),))
    if method not in FORWARDED and method not in {"OPTIONS", "NOTIFY"} and not registers:
        return Refusal(501)
    if len(request.uri) > MAX_URI:
        return Refusal(414)
    try:
        parse_uri(request.uri)
    except SipError as error:
        return Refusal(error.status, "" if error.status == 416 else error.reason)
    unsupported = _unsupported(request)
    if unsupported:
        return Refusal(420, headers=(("Unsupported", ", ".join(unsupported)),))
    if len(request.body) > max_body:
        return Refusal(413)
    if method == "NOTIFY":
        return Refusal(481)
    if method == "OPTIONS":
        return _capabilities(ALLOW_REGISTER if registrar else ALLOW)
    return Next.FORWARD


def malformed(error: SipError) -> Refusal:
    """The answer to a request that cannot be read: the status it hints at, with a reason that names the field."""
    reason = "" if error.status == 505 else error.reason
    return Refusal(error.status, reason)


def _unsupported(request: Request) -> list[str]:
    rows = request.headers.all("require")
    if not rows:
        return rows
    wanted = [tag for row in rows for tag in split_list(row) if tag]
    return [tag for tag in wanted if tag.lower() not in _SUPPORTED]


def _capabilities(allow: str) -> Refusal:
    """200 to OPTIONS (section 11.2)."""
    types = sorted({media_type for package in PACKAGES.values() for media_type in package.publish_types})
    return Refusal(
        200,
        headers=(
            ("Allow", allow),
            ("Allow-Events", ALLOW_EVENTS),
            ("Accept", ", ".join(types)),
            ("Accept-Encoding", "identity"),
            ("Accept-Language", "en"),
            ("Supported", ""),
        ),
    )
