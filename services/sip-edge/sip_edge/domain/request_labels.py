"""By which names messages are counted: few, whatever strangers send. Pure."""

from vedette.events.registry import PACKAGES
from vedette.sip.message import Request

METHODS = frozenset(
    {"PUBLISH", "SUBSCRIBE", "NOTIFY", "OPTIONS", "CANCEL", "ACK", "INVITE", "BYE", "REGISTER", "MESSAGE", "REFER",
     "INFO", "PRACK", "UPDATE"}
)  # fmt: skip
OTHER = "other"
NONE = "none"
MALFORMED = "malformed"
"""In place of the method of a request that cannot be read."""

_EVENTS = {package.partition(";")[0]: package.partition(";")[0] for package in PACKAGES}


def method_label(method: str) -> str:
    """The method, where it is one of SIP's own."""
    return method if method in METHODS else OTHER


def event_label(value: str | None) -> str:
    """The package that an Event header names, where it is served; `none` without the header."""
    if value is None:
        return NONE
    known = _EVENTS.get(value)
    return known or _EVENTS.get(value.partition(";")[0].strip().lower(), OTHER)


def labels_of(request: Request) -> tuple[str, str]:
    """Method and event of a request, whatever state it is in."""
    event = request.headers.get("event")
    known = NONE if event is None else _EVENTS.get(event)
    return method_label(request.method), known or event_label(event)
