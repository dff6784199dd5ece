"""Presence documents: PIDF (RFC 3863) with data model (RFC 4479) and RPID (RFC 4480).

What is published is kept as it is; what is sent is composed from it by these rules (rows CMP of the checklist):

- The union of all publications. Those with an open tuple come first, and among equals the one whose state is
  newest: many phones show only the first tuple.
- Ids are scoped by publication (`t1` becomes `t1.<scope>`), so two phones with the same id do not erase each
  other, and the id that a watcher sees never changes while the publication lives.
- `entity` is the presentity. PIDF is the default namespace, `dm` and `rpid` have these prefixes, everything else is
  kept as it came, unknown elements included.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from lxml import etree

from vedette.documents.xml_reader import DocumentError, read_document

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
CIPID = "urn:ietf:params:xml:ns:pidf:cipid"

_PRESENCE = f"{{{PIDF}}}presence"
_TUPLE = f"{{{PIDF}}}tuple"
_STATUS = f"{{{PIDF}}}status"
_BASIC = f"{{{PIDF}}}basic"
_NOTE = f"{{{PIDF}}}note"
_RANKS = {_STATUS: 0, f"{{{PIDF}}}contact": 2, _NOTE: 3, f"{{{PIDF}}}timestamp": 4}
_SCOPED = frozenset({PIDF, DATA_MODEL, RPID, CIPID})
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_IN_NAMES = re.compile(r"[^\w.\-]")


@dataclass(frozen=True, slots=True)
class PublishedDocument:
    """One publication's document; `scope` is short, the same for its whole life, and safe inside an XML name."""

    body: bytes
    scope: str


def check(body: bytes) -> str | None:
    """Why the body cannot be published as PIDF, None where it can.

    Only what composition needs is asked for: well-formed XML whose root is `presence`. A third of what real phones
    send is not valid by the schema, and nobody is helped by refusing it.
    """
    try:
        root = read_document(body)
    except DocumentError as error:
        return f"PIDF: {error}"
    if root.tag != _PRESENCE:
        return "PIDF: the root element is not presence"
    return None


def neutral(entity: str) -> bytes:
    """The document of a presentity that publishes nothing: one closed tuple."""
    root = _root(entity, [])
    etree.SubElement(etree.SubElement(etree.SubElement(root, _TUPLE, id="offline"), _STATUS), _BASIC).text = "closed"
    return _DECLARATION + etree.tostring(root, encoding="UTF-8")


def compose(entity: str, documents: Sequence[PublishedDocument]) -> bytes:
    """The document that watchers of `entity` get; `documents` has the newest state first.

    Documents that cannot be read (they were checked when they were published) are left out.
    """
    read: list[tuple[etree._Element, str]] = []
    for document in documents:
        try:
            read.append((read_document(document.body), document.scope))
        except DocumentError:
            continue
    if not read:
        return neutral(entity)
    read.sort(key=lambda item: not _is_open(item[0]))
    root = _root(entity, [published for published, _ in read])
    seen: set[str] = set()
    tuples: list[etree._Element] = []
    notes: list[etree._Element] = []
    others: list[etree._Element] = []
    for published, scope in read:
        for child in published.iterchildren(tag=etree.Element):
            _scope_ids(child, scope, seen)
            if child.tag == _TUPLE:
                _order_tuple(child)
                tuples.append(child)
            elif child.tag == _NOTE:
                notes.append(child)
            elif _namespace(child) != PIDF:
                others.append(child)
    for child in (*tuples, *notes, *others):
        root.append(child)
    return _DECLARATION + etree.tostring(root, encoding="UTF-8")


def _root(entity: str, published: Sequence[etree._Element]) -> etree._Element:
    prefixes: dict[str | None, str] = {None: PIDF, "dm": DATA_MODEL, "rpid": RPID}
    for element in published:
        for prefix, uri in element.nsmap.items():
            if prefix is not None and prefix not in prefixes and uri not in prefixes.values():
                prefixes[prefix] = uri
    # lxml takes None for the default namespace; its stubs do not know
    return etree.Element(_PRESENCE, {"entity": entity}, nsmap=cast("dict[str, str]", prefixes))


def _is_open(published: etree._Element) -> bool:
    return any((basic.text or "").strip().lower() == "open" for basic in published.iter(_BASIC))


def _namespace(element: etree._Element) -> str:
    return etree.QName(element).namespace or ""


def _scope_ids(element: etree._Element, scope: str, seen: set[str]) -> None:
    """Make every id of the element unique in the composed document, the same in each composition."""
    for node in element.iter(etree.Element):
        is_tuple = node.tag == _TUPLE
        published = node.get("id")
        if (published is None and not is_tuple) or _namespace(node) not in _SCOPED:
            continue
        name = _NOT_IN_NAMES.sub("_", published or "t")
        if not (name[0].isalpha() or name[0] == "_"):
            name = f"t{name}"
        scoped = f"{name}.{scope}"
        repeated = 1
        while scoped in seen:
            repeated += 1
            scoped = f"{name}.{scope}.{repeated}"
        seen.add(scoped)
        node.set("id", scoped)


def _order_tuple(element: etree._Element) -> None:
    """Children in the order of RFC 3863 section 4.4: status, extensions, contact, note, timestamp."""
    children = list(element.iterchildren(tag=etree.Element))
    if not any(child.tag == _STATUS for child in children):
        children.insert(0, etree.Element(_STATUS))
    ranks = [_RANKS.get(str(child.tag), 1) for child in children]
    if ranks == sorted(ranks) and len(children) == len(element):
        return
    for child in sorted(children, key=lambda child: _RANKS.get(str(child.tag), 1)):
        element.append(child)
