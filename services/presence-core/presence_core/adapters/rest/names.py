"""What requests name: presentities, events, dialogs, in the parameters that operations share."""

from typing import Annotated

from fastapi import Path, Query

from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.problems import RestError
from vedette.events.registry import PACKAGES
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record

Text = Annotated[str | None, Query(max_length=512, pattern=NO_NUL)]
DomainFilter = Annotated[
    str | None, Query(max_length=255, pattern=NO_NUL, description="Only presentities of this domain.")
]
EventFilter = Annotated[
    str | None, Query(max_length=128, pattern=NO_NUL, description="Only this event, like presence or dialog.")
]
EventName = Annotated[str, Query(max_length=128, pattern=NO_NUL, description="The event package.")]
UriInPath = Annotated[
    str,
    Path(
        max_length=1024,
        pattern=NO_NUL,
        description="The presentity, like sip:alice@example.com or only alice@example.com.",
    ),
]


def event_of(event: str, where: str) -> str:
    """The event; RestError 422 where it is none that is served."""
    if event not in PACKAGES:
        raise RestError(
            422, f"no event {event!r} is served", where=where, remedy="GET /api/v1/event-packages names all of them."
        )
    return event


def aor_of(uri: str, where: str, *, fold_case: bool) -> str:
    """The address-of-record that a text means, `sip:` added where no scheme is; RestError 422 where it is none.

    `where`: the part of the request that it comes from. `fold_case`: as presentities have it (`sip_uri_match=1`).
    """
    try:
        aor = address_of_record(uri if ":" in uri.partition("@")[0] else f"sip:{uri}")
        return aor.lower() if fold_case else aor
    except SipError as error:
        raise RestError(
            422, f"not a SIP URI: {error.reason}", where=where, remedy="Write it like sip:alice@example.com."
        ) from None


def user_of(aor: str, where: str) -> str:
    """The address again; RestError 422 where it names no user: rules and decisions are about somebody."""
    if "@" not in aor:
        raise RestError(422, f"{aor} names no user", where=where, remedy="Write it like sip:alice@example.com.")
    return aor
