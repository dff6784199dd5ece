"""XPIDF, application/xpidf+xml: what old phones read instead of PIDF (draft-rosenberg-impp-pidf-00).

An atom for each tuple, in the order of the tuples, with the words that Asterisk and FreeSWITCH have taught these
phones: `open`, `inuse`, `inactive` and `closed`, and the same once more as the substatus of Microsoft's messenger.
"""

from collections.abc import Sequence

from lxml import etree

from vedette.documents.pidf import PublishedDocument, compose_tree
from vedette.documents.presence_schema import MUST_UNDERSTAND, PIDF, RPID
from vedette.documents.xml_copy import namespace

_DOCTYPE = '<!DOCTYPE presence PUBLIC "-//IETF//DTD RFCxxxx XPIDF 1.0//EN" "xpidf.dtd">'
_PRIORITY = "0.800000"
_BUSY = frozenset({"on-the-phone", "busy", "meeting"})
_AWAY = frozenset({"away", "vacation", "meal", "sleeping", "permanent-absence", "in-transit", "travel"})
_SUBSTATUS = {"open": "online", "inuse": "onthephone", "inactive": "away", "closed": "offline"}


def compose(entity: str, documents: Sequence[PublishedDocument]) -> bytes:
    """The document that such a watcher of `entity` gets; `documents` has the newest state first."""
    root = compose_tree(entity, documents)
    doing = {
        etree.QName(activity).localname
        for activities in root.iter(f"{{{RPID}}}activities")
        if not _has_to_be_understood(activities)
        for activity in activities.iterchildren(f"{{{RPID}}}*")
    }
    presence = etree.Element("presence")
    etree.SubElement(presence, "presentity", uri=f"{entity};method=SUBSCRIBE")
    for item in root.iterchildren(f"{{{PIDF}}}tuple"):
        basic = (item.findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic") or "").strip().lower()
        status = _status(basic, doing)
        atom = etree.SubElement(presence, "atom", id=item.get("id", ""))
        contact = (item.findtext(f"{{{PIDF}}}contact") or "").strip() or entity
        address = etree.SubElement(atom, "address", uri=f"{contact};user=ip", priority=_PRIORITY)
        etree.SubElement(address, "status", status=status)
        etree.SubElement(address, "msnsubstatus", substatus=_SUBSTATUS[status])
    return etree.tostring(presence, encoding="UTF-8", xml_declaration=True, doctype=_DOCTYPE)


def _has_to_be_understood(element: etree._Element) -> bool:
    """Whether it holds for those alone who understand an extension in it (RFC 3863, mustUnderstand)."""
    return any(
        child.get(MUST_UNDERSTAND) in {"1", "true"} and namespace(child) != RPID
        for child in element.iterdescendants(etree.Element)
    )


def _status(basic: str, doing: set[str]) -> str:
    if basic != "open":
        return "closed"
    if doing & _BUSY:
        return "inuse"
    return "inactive" if doing & _AWAY else "open"
