"""The Event header (RFC 6665 section 8.2.1)."""

from dataclasses import dataclass
from functools import lru_cache

from vedette.sip.errors import SipError
from vedette.sip.grammar import is_token, parse_parameters


@dataclass(frozen=True, slots=True)
class EventHeader:
    """Package name (compared byte by byte), `id` ("" where absent) and all parameters."""

    package: str
    id: str
    parameters: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        """The value a NOTIFY carries: the package and the `id` (section 4.5.2)."""
        return f"{self.package};id={self.id}" if self.id else self.package


@lru_cache(maxsize=1024)
def parse_event(value: str) -> EventHeader:
    """The event in the header value; raises SipError for bad grammar or two events in one header."""
    package, semicolon, rest = value.partition(";")
    package = package.strip()
    if not is_token(package):
        raise SipError("Malformed Event")
    parameters = parse_parameters(semicolon + rest, "Event")
    event_id = parameters.get("id") or ""
    if event_id and not is_token(event_id):
        raise SipError("Malformed Event")
    return EventHeader(package, event_id, tuple(parameters.items()))
