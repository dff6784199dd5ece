"""Watchers as the tables have them, and as watcher information shows them (RFC 3857, RFC 3858)."""

import math
import re
from typing import NamedTuple

from vedette.documents.watcherinfo import Watcher
from vedette.identity import watcher_id
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.grammar import unquote

ACTIVE, PENDING, TERMINATED, WAITING = 1, 2, 3, 4
_STATUS = {ACTIVE: "active", PENDING: "pending", TERMINATED: "terminated", WAITING: "waiting"}
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


class Span(NamedTuple):
    """Which changes of the watchers a document shows: those after `since`, up to `until`."""

    since: int
    """What the reader of the document is known to have."""
    until: int
    """What the claim has seen. A watcher that was lost later is shown as lost by the next document."""
    whole: bool
    """The reader may lack more: the document has every watcher there is."""


class WatcherRow(NamedTuple):
    """A subscription of which watcher information tells; names as the columns of `active_watchers`."""

    dialog_id: bytes
    watcher_username: str
    watcher_domain: str
    from_uri: str
    status: int
    status_event: str
    created: float
    expires: float
    """Postgres's time, seconds since the epoch."""


class WatcherRows(NamedTuple):
    """What a document shows; `full`: all watchers, and those that were lost within its span."""

    full: bool
    rows: list[WatcherRow]


def shown(row: WatcherRow, at: float, expires_offset: int) -> Watcher:
    """The watcher as it is at that time; its lifetime as it was told, which is `expires_offset` shorter."""
    alive = row.status in {ACTIVE, PENDING}
    return Watcher(
        id=watcher_id(row.dialog_id),
        uri=_uri(row.watcher_username, row.watcher_domain),
        status=_STATUS[row.status],
        event=row.status_event,
        display_name=_display_name(row.from_uri),
        expiration=max(0, math.ceil(row.expires - at) - expires_offset) if alive else None,
        duration=max(0, int(at - row.created)),
    )


def _uri(username: str, domain: str) -> str:
    """The watcher's address-of-record; one whose scheme is not ours stands in `domain` as it came."""
    if username:
        return f"sip:{username}@{domain}"
    return domain if _HAS_SCHEME.match(domain) else f"sip:{domain}"


def _display_name(from_value: str) -> str:
    try:
        return unquote(parse_address(from_value, "From").display) or ""
    except SipError:
        return ""
