"""What a watcher is shown of a composed presence document (RFC 5025 section 3.3)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lxml import etree

from vedette.documents import pidf
from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID
from vedette.documents.xml_reader import DocumentError, read_composed
from vedette.rules.addresses import same_uri, scheme_of
from vedette.rules.document import GEOPRIV
from vedette.rules.permissions import ALL, EVERYTHING, Selectors, Sight, UserInput, combine

OMA_PRES = "urn:oma:xml:prs:pidf:oma-pres"
GEOPRIV10 = "urn:ietf:params:xml:ns:pidf:geopriv10"

_PRESENCE = f"{{{PIDF}}}presence"
_TUPLE = f"{{{PIDF}}}tuple"
_STATUS = f"{{{PIDF}}}status"
_NOTE = f"{{{PIDF}}}note"
_PERSON = f"{{{DATA_MODEL}}}person"
_DEVICE = f"{{{DATA_MODEL}}}device"
_DEVICE_ID = f"{{{DATA_MODEL}}}deviceID"
_CLASS = f"{{{RPID}}}class"
_USER_INPUT = f"{{{RPID}}}user-input"

_ALWAYS_PLAIN = frozenset({
    f"{{{PIDF}}}contact", f"{{{PIDF}}}basic", f"{{{PIDF}}}timestamp", f"{{{DATA_MODEL}}}timestamp",
})  # fmt: skip
"""Shown in every component that is shown, but without what the schemas do not have in them (section 3.3.2)."""
_ALWAYS = frozenset({f"{{{RPID}}}service-class", f"{{{OMA_PRES}}}service-description"})
_ATTRIBUTES = (
    {
        f"{{{RPID}}}{name}": name
        for name in (
            *("activities", "class", "mood", "place-is", "place-type", "privacy", "relationship"),
            *("sphere", "status-icon", "time-offset"),
        )
    }
    | {_NOTE: "note", f"{{{DATA_MODEL}}}note": "note", _DEVICE_ID: "deviceID"}
    | {
        f"{{{OMA_PRES}}}{name}": name
        for name in (
            *("willingness", "network-availability", "session-participation"),
            *("registration-state", "barring-state"),
        )
    }
    | {f"{{{OMA_PRES}}}overriding-willingness": "willingness", f"{{{GEOPRIV10}}}geopriv": GEOPRIV}
)
"""The permission that an element needs."""
_NEVER_UNKNOWN = frozenset({"", PIDF, DATA_MODEL, RPID})
_KEPT_PREFIXES = ("dm", "rpid")
"""Some phones look for these strings (docs/composition.md)."""
_MAX_CLEANED = 500
"""Declarations of namespaces up to which unused ones are taken out; the time grows with their square."""
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_BLANK = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is left of a document."""

    document: bytes
    removed: tuple[str, ...]
    """What was taken out, for people: `tuple t1.3fa09c`, `person p1.3fa09c: mood`."""


def see(document: bytes, sight: Sight) -> Seen:
    """The document as it is shown; `document` is what `vedette.documents.pidf.compose` writes.

    Nothing is ever added, and seeing the result again changes nothing (RFC 5025 section 4), unless components are
    selected by a class that is not shown itself. What is left is valid where the whole was. Raises DocumentError for
    what is no presence document.
    """
    sight = combine([sight])
    if sight == EVERYTHING:
        return Seen(document, ())
    root = read_composed(document)
    if root.tag != _PRESENCE:
        raise DocumentError("the root element is not presence")
    filtering = _Filter(sight)
    filtering.presence(root)
    if document.count(b"xmlns") <= _MAX_CLEANED:
        etree.cleanup_namespaces(root, keep_ns_prefixes=list(_KEPT_PREFIXES))
    return Seen(_DECLARATION + etree.tostring(root, encoding="UTF-8"), tuple(filtering.removed))


def polite_block(presentity: str) -> bytes:
    """The document of a politely blocked watcher, always the same: that of somebody who publishes nothing.

    One closed tuple, no person, no device (RFC 5025 section 3.2.1).
    """
    return pidf.neutral(presentity)


@dataclass(slots=True)
class _Filter:
    """Takes out of one document what the sight does not show."""

    sight: Sight
    removed: list[str] = field(default_factory=list)

    def presence(self, root: etree._Element) -> None:
        selectors = {_TUPLE: self.sight.services, _PERSON: self.sight.persons, _DEVICE: self.sight.devices}
        # a note of the document is about the presentity as a whole
        whole = {(ALL, "")}
        notes = self._shows("note") and bool(whole & self.sight.services or whole & self.sight.persons)
        _only_elements(root)
        for child in list(root):
            tag = str(child.tag)
            if tag in selectors:
                name = f"{_parts(tag)[1]} {child.get('id', '')}"
                if not _is_selected(child, selectors[tag]):
                    self._remove(child, name)
                elif not self.sight.all_attributes:
                    self._component(child, name)
            elif tag != _NOTE or not notes:
                self._remove(child, _label(child))

    def _component(self, element: etree._Element, name: str) -> None:
        _only_elements(element)
        _keep_attributes(element, {"id"})
        for child in list(element):
            if child.tag == _STATUS and element.tag == _TUPLE:
                if not self._status(child, name):
                    # a tuple without a state says nothing, and RFC 3863 section 4.1.4 wants one
                    self._remove(element, name)
                    return
            elif child.tag == _DEVICE_ID and element.tag == _DEVICE:
                _plain(child)
            else:
                self._attribute(child, name)

    def _status(self, status: etree._Element, name: str) -> bool:
        """Whether anything is left that was there."""
        _only_elements(status)
        _keep_attributes(status, set())
        children = list(status)
        for child in children:
            self._attribute(child, name)
        return len(status) > 0 or not children

    def _attribute(self, element: etree._Element, component: str) -> None:
        tag = str(element.tag)
        if tag in _ALWAYS_PLAIN:
            _plain(element)
        elif tag == _USER_INPUT:
            self._user_input(element, component)
        elif tag not in _ALWAYS and not self._is_granted(tag):
            self._remove(element, f"{component}: {_label(element)}")

    def _is_granted(self, tag: str) -> bool:
        permission = _ATTRIBUTES.get(tag)
        if permission is not None and self._shows(permission):
            return True
        if not self.sight.unknown:
            return False
        uri, name = _parts(tag)
        return uri not in _NEVER_UNKNOWN and (uri, name) in self.sight.unknown

    def _user_input(self, element: etree._Element, component: str) -> None:
        level = self.sight.user_input
        if level is UserInput.FALSE:
            self._remove(element, f"{component}: user-input")
        elif level is not UserInput.FULL:
            kept = {"id", "idle-threshold"} if level is UserInput.THRESHOLDS else {"id"}
            self.removed += [f"{component}: user-input {name}" for name in _keep_attributes(element, kept)]

    def _shows(self, permission: str) -> bool:
        return self.sight.all_attributes or permission in self.sight.attributes

    def _remove(self, element: etree._Element, name: str) -> None:
        parent = element.getparent()
        assert parent is not None  # the root is never taken out
        parent.remove(element)
        self.removed.append(name)


def _is_selected(element: etree._Element, selectors: Selectors) -> bool:
    if (ALL, "") in selectors:
        return True
    return any(kind in _SELECTS and _SELECTS[kind](element, value) for kind, value in selectors)


def _has_text(tag: str, same: Callable[[str, str], bool]) -> Callable[[etree._Element, str], bool]:
    def selects(element: etree._Element, value: str) -> bool:
        return any(same(text, value) for text in _texts(element, tag))

    return selects


def _has_service_id(element: etree._Element, value: str) -> bool:
    return any(
        value in _texts(description, f"{{{OMA_PRES}}}service-id")
        for description in element.iterchildren(f"{{{OMA_PRES}}}service-description")
    )


_SELECTS: dict[str, Callable[[etree._Element, str], bool]] = {
    "class": _has_text(_CLASS, str.__eq__),
    "occurrence-id": lambda element, value: pidf.is_occurrence(element.get("id", ""), value),
    "deviceID": _has_text(_DEVICE_ID, same_uri),
    "service-uri": _has_text(f"{{{PIDF}}}contact", same_uri),
    "service-uri-scheme": _has_text(
        f"{{{PIDF}}}contact", lambda contact, scheme: scheme_of(contact) == scheme.lower().rstrip(":")
    ),
    "service-id": _has_service_id,
}


def _texts(element: etree._Element, tag: str) -> Iterator[str]:
    """The texts of the children of that name, as tokens."""
    for child in element.iterchildren(tag):
        yield " ".join((child.text or "").split())


def _only_elements(element: etree._Element) -> None:
    """Take out comments, instructions and text, which the schemas do not have there."""
    if element.text and _NOT_BLANK.search(element.text):
        element.text = None
    for child in list(element):
        if child.tail and _NOT_BLANK.search(child.tail):
            child.tail = None
        tag: object = child.tag
        if not isinstance(tag, str):
            element.remove(child)


def _keep_attributes(element: etree._Element, kept: set[str]) -> list[str]:
    """Take out all other attributes; returns their names."""
    gone = [str(name) for name in element.attrib if str(name) not in kept]
    for name in gone:
        del element.attrib[name]
    return [_parts(name)[1] for name in gone]


def _plain(element: etree._Element) -> None:
    """Leave text and the attributes of the schema, which have no namespace."""
    for child in list(element):
        element.remove(child)
    _keep_attributes(element, {str(name) for name in element.attrib if not str(name).startswith("{")})


def _label(element: etree._Element) -> str:
    tag = str(element.tag)
    uri, name = _parts(tag)
    return name if uri in _NEVER_UNKNOWN else tag


def _parts(tag: str) -> tuple[str, str]:
    """Namespace ("" for none) and local name."""
    uri, _, name = tag.rpartition("}")
    return uri[1:], name
