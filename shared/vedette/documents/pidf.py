"""Presence documents: PIDF (RFC 3863) with data model (RFC 4479) and RPID (RFC 4480).

What is published is kept as it is; what is sent is composed from it by these rules (rows CMP of the checklist):

- The union of all publications. Those with an open tuple come first, and among equals the one whose state is
  newest: many phones show only the first tuple.
- What several publications say of the same device is put together (`device_merge`).
- Ids are scoped by publication (`t1` becomes `t1.<scope>`), so two phones with the same id do not erase each
  other, and the id that a watcher sees never changes while the publication lives.
- `entity` is the presentity. PIDF is the default namespace, `dm` and `rpid` have these prefixes, everything else is
  kept as it came, unknown elements included; only what the schemas have no place for is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from lxml import etree

from vedette.documents.device_merge import Published, merge_devices
from vedette.documents.presence_schema import CIPID, DATA_MODEL, PIDF, PRESENCE_SCHEMA, RPID
from vedette.documents.xml_copy import copy_below, namespace
from vedette.documents.xml_reader import DocumentError, read_document

_PRESENCE = f"{{{PIDF}}}presence"
_TUPLE = f"{{{PIDF}}}tuple"
_STATUS = f"{{{PIDF}}}status"
_BASIC = f"{{{PIDF}}}basic"
_NOTE = f"{{{PIDF}}}note"
_NEED_ID = frozenset({_TUPLE, f"{{{DATA_MODEL}}}person", f"{{{DATA_MODEL}}}device"})
_SCOPED = frozenset({PIDF, DATA_MODEL, RPID, CIPID})
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\-]")
_SCOPE = re.compile(r"\.[0-9a-f]{6}(?:\.[0-9]+)?")
"""What scoping adds to an id, and the number of a repetition."""
_MAX_PREFIXES = 64


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
    return compose(entity, [])


def compose(entity: str, documents: Sequence[PublishedDocument]) -> bytes:
    """The document that watchers of `entity` get; `documents` has the newest state first.

    Documents that cannot be read (they were checked when they were published) are left out.
    """
    return _DECLARATION + etree.tostring(compose_tree(entity, documents), encoding="UTF-8")


def compose_tree(entity: str, documents: Sequence[PublishedDocument]) -> etree._Element:
    """The root of that document."""
    read: list[Published] = []
    held: list[etree._Element] = []  # lxml makes an element's object, and its names, anew where nobody holds it
    for document in documents:
        try:
            published = read_document(document.body)
        except DocumentError:
            continue
        if published.tag != _PRESENCE:
            continue
        held += published.iter()
        PRESENCE_SCHEMA.mend(published)
        read.append(Published(published, document.scope))
    if not read:
        root = _root(entity, [])
        status = etree.SubElement(etree.SubElement(root, _TUPLE, id="offline"), _STATUS)
        etree.SubElement(status, _BASIC).text = "closed"
        return root
    names = merge_devices(read) if len(read) > 1 else {}
    read.sort(key=lambda item: not _is_open(item.root))
    root = _root(entity, [item.root for item in read])
    seen: dict[str, int] = {}
    tuples: list[etree._Element] = []
    notes: list[etree._Element] = []
    others: list[etree._Element] = []
    for item in read:
        tangled = _is_tangled(item.root, root.nsmap)
        for child in item.root.iterchildren(tag=etree.Element):
            kind = tuples if child.tag == _TUPLE else notes if child.tag == _NOTE else others
            element = copy_below(root, child) if tangled else child
            _scope_ids(element, names.get(child, item.scope), seen)
            kind.append(element)
    for child in (*tuples, *notes, *others):
        root.append(child)
    return root


def _root(entity: str, published: Sequence[etree._Element]) -> etree._Element:
    prefixes: dict[str | None, str] = {None: PIDF, "dm": DATA_MODEL, "rpid": RPID}
    uris = set(prefixes.values())
    for element in published:
        for prefix, uri in element.nsmap.items():
            if prefix is None or prefix in prefixes or uri in uris or len(prefixes) >= _MAX_PREFIXES:
                continue
            prefixes[prefix] = uri
            uris.add(uri)
    # lxml takes None for the default namespace; its stubs do not know
    return etree.Element(_PRESENCE, {"entity": entity}, nsmap=cast("dict[str, str]", prefixes))


def _is_open(published: etree._Element) -> bool:
    """Whether a tuple is; its first child is its status, and the first child of that is `basic`, if there is one."""
    return any(
        len(item[0]) > 0 and item[0][0].tag == _BASIC and item[0][0].text == "open"
        for item in published.iterchildren(_TUPLE)
    )


def _is_tangled(published: etree._Element, prefixes: dict[str | None, str]) -> bool:
    """Whether its declarations shadow one another or ours, which lxml does not see when it moves elements."""
    return len(prefixes) >= _MAX_PREFIXES or any(
        not uri or (prefix and (uri == PIDF or prefixes.get(prefix, uri) != uri))
        for _, (prefix, uri) in etree.iterwalk(published, events=("start-ns",))
    )


def _scope_ids(element: etree._Element, scope: str, seen: dict[str, int]) -> None:
    """Make every id of the element unique in the composed document, the same in each composition.

    `seen` has the ids given out, each with the number of its last repetition.
    """
    for node in element.iter(etree.Element):
        published = node.get("id")
        if (published is None and node.tag not in _NEED_ID) or namespace(node) not in _SCOPED:
            continue
        scoped = wanted = f"{_id_name(published)}.{scope}"
        while scoped in seen:
            seen[wanted] += 1
            scoped = f"{wanted}.{seen[wanted]}"
        seen[scoped] = 1
        node.set("id", scoped)


def _id_name(published: str | None) -> str:
    name = _NOT_IN_NAMES.sub("_", published or "t")
    return name if name[0].isalpha() or name[0] == "_" else f"t{name}"


def is_occurrence(composed: str, wanted: str) -> bool:
    """Whether an id of a composed document is the wanted one, or was that before it was scoped."""
    if composed == wanted:
        return True
    name = _id_name(wanted)
    return composed.startswith(f"{name}.") and _SCOPE.fullmatch(composed, len(name)) is not None
