"""Watcher information documents, application/watcherinfo+xml (RFC 3858). Only written here, never read."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

from vedette.documents.versioned import VersionedDocument

WATCHERINFO = "urn:ietf:params:xml:ns:watcherinfo"

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile("[ !#-%'-;=?-~]*")
"""What stands for itself, in attributes, too."""
_IN_ATTRIBUTES = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


class Watcher(NamedTuple):
    """One subscription as the document shows it (RFC 3858 section 3.1)."""

    id: str
    """A token that names this subscription and no other, the same in every document."""
    uri: str
    status: str
    """`pending`, `active`, `waiting` or `terminated`."""
    event: str
    """What brought it into this status: `subscribe`, `approved`, `timeout`, `giveup` ..."""
    display_name: str = ""
    expiration: int | None = None
    """Seconds until it expires; None: not told."""
    duration: int | None = None
    """Seconds since it was made; None: not told."""


def compose(resource: str, package: str, watchers: Iterable[Watcher], *, full: bool) -> VersionedDocument:
    """The document with the watchers of one resource in one event package, in the order given.

    A `full` one has every watcher there is; a partial one has those that changed (RFC 3858 section 3).
    """
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<watcherinfo xmlns="{WATCHERINFO}" version="'
    rows = [
        f'" state="{"full" if full else "partial"}">',
        f"<watcher-list resource={_attribute(resource)} package={_attribute(package)}>",
        *map(_watcher, watchers),
        "</watcher-list>",
        "</watcherinfo>",
        "",
    ]
    start = head.encode()
    return VersionedDocument(start + "\n".join(rows).encode(), len(start))


def _watcher(watcher: Watcher) -> str:
    told = f" display-name={_attribute(watcher.display_name)}" if watcher.display_name else ""
    if watcher.expiration is not None:
        told += f' expiration="{watcher.expiration}"'
    if watcher.duration is not None:
        told += f' duration-subscribed="{watcher.duration}"'
    return (
        f"<watcher id={_attribute(watcher.id)} status={_attribute(watcher.status)} event={_attribute(watcher.event)}"
        f"{told}>{escape(_clean(watcher.uri))}</watcher>"
    )


def _attribute(value: str) -> str:
    return f'"{value if _PLAIN.fullmatch(value) else escape(_clean(value), _IN_ATTRIBUTES)}"'


def _clean(value: str) -> str:
    """The text without characters that XML has no way to write."""
    return _NOT_IN_XML.sub("\ufffd", value)
