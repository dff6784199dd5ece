"""Putting together what several publications say of the same device (RFC 4479; rows CMP-06 of the checklist).

A phone that starts anew publishes anew, while what it published before lives on for a while; and a phone may have
somebody who publishes more about it. Both name the device by its URN. So a `device` of several publications with the
same deviceID is one, and tuples of several publications that name the same device and have a contact of the same
scheme are the same service; where a publication has several of these, the first is the same as the first of the
other, the second as the second.

What the newer one says holds, child by child; what it says nothing of, the older one tells. Newer is what has the
later `timestamp`, where all have one (a device has one clock), and otherwise what was published later.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from lxml import etree

from vedette.documents.presence_schema import DATA_MODEL, PIDF, PRESENCE_SCHEMA
from vedette.documents.xml_copy import copy_below

_TUPLE = f"{{{PIDF}}}tuple"
_STATUS = f"{{{PIDF}}}status"
_CONTACT = f"{{{PIDF}}}contact"
_DEVICE = f"{{{DATA_MODEL}}}device"
_DEVICE_ID = f"{{{DATA_MODEL}}}deviceID"
_TIMESTAMPS = {_TUPLE: f"{{{PIDF}}}timestamp", _DEVICE: f"{{{DATA_MODEL}}}timestamp"}


class Published(NamedTuple):
    """A publication that was read, or an element of one; it complies with the schemas."""

    root: etree._Element
    scope: str
    """Of the publication: short, the same for its whole life."""


def merge_devices(read: Sequence[Published]) -> dict[etree._Element, str]:
    """Leave one element of each device, and of each of its services, in the documents, which have the newest first.

    Returns the scope that ids have in those that speak for several publications: always that of the same one.
    """
    groups: dict[Hashable, list[Published]] = {}
    for root, scope in read:
        for key, element in _keyed(root):
            groups.setdefault(key, []).append(Published(element, scope))
    scopes: dict[etree._Element, str] = {}
    for group in groups.values():
        if len(group) < 2:
            continue
        home = min(group, key=lambda item: item.scope)
        name = home.root.get("id")
        winner, *others = _newest_first([item.root for item in group])
        for other in others:
            _fill_in(winner, other)
            _remove(other)
        winner.attrib.update({"id": name or ""})
        scopes[winner] = home.scope
    if scopes:
        for root, _ in read:
            PRESENCE_SCHEMA.mend(root)
    return scopes


def _keyed(root: etree._Element) -> Iterator[tuple[Hashable, etree._Element]]:
    """The devices and services of a document with what they are known by; those that name no device are not there."""
    count: Counter[Hashable] = Counter()
    for element in root:
        devices = (
            frozenset(filter(None, map(_urn, element.findall(_DEVICE_ID)))) if element.tag in _TIMESTAMPS else ()
        )
        if devices:
            scheme = (element.findtext(_CONTACT) or "").rpartition(":")[0].partition(":")[0].lower()
            known_by = (element.tag, devices, scheme)
            count[known_by] += 1
            yield (*known_by, count[known_by]), element


def _urn(device_id: etree._Element) -> str:
    """The name of a device, "" where it is none."""
    text = device_id.text or ""
    scheme, colon, _ = text.partition(":")
    if not colon:
        return ""
    lower = text.lower()
    return lower if lower.startswith("urn:uuid:") else f"{scheme.lower()}{text[len(scheme) :]}"


def _newest_first(elements: list[etree._Element]) -> list[etree._Element]:
    times = {element: _time_of(element) for element in elements}
    known = [time for time in times.values() if time is not None]
    if len(known) < len(elements):
        return elements
    return sorted(elements, key=lambda element: times[element] or known[0], reverse=True)


def _time_of(element: etree._Element) -> datetime | None:
    text = element.findtext(_TIMESTAMPS[str(element.tag)])
    return None if text is None else datetime.fromisoformat(text)


def _fill_in(winner: etree._Element, other: etree._Element) -> None:
    """Add the children that `winner` has none like."""
    told = {child.tag: child for child in winner}
    for child in other:
        if child.tag not in told:
            copy_below(winner, child)
        elif child.tag == _STATUS:
            _fill_in(told[child.tag], child)


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
