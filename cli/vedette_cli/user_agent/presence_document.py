"""Writing a small PIDF document, and saying in a line what one shows."""

from dataclasses import dataclass

from lxml import etree

from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID
from vedette.documents.xml_reader import DocumentError, read_document

ACTIVITIES = (
    "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work", "lunch",
    "meal", "meeting", "on-the-phone", "performance", "permanent-absence", "playing", "presentation", "shopping",
    "sleeping", "spectator", "steering", "travel", "tv", "unknown", "vacation", "working", "worship",
)  # fmt: skip
"""The elements of RFC 4480 section 3.2."""


def write(entity: str, *, status: str, note: str | None, activity: str | None, tuple_id: str) -> bytes:
    """A PIDF document with one tuple and, with an activity, one person."""
    root = etree.Element(
        f"{{{PIDF}}}presence",
        {"entity": entity},
        nsmap={None: PIDF, "dm": DATA_MODEL, "rpid": RPID},  # type: ignore[dict-item]
    )
    tuple_ = etree.SubElement(root, f"{{{PIDF}}}tuple", id=tuple_id)
    status_ = etree.SubElement(tuple_, f"{{{PIDF}}}status")
    etree.SubElement(status_, f"{{{PIDF}}}basic").text = status
    if note is not None:
        etree.SubElement(tuple_, f"{{{PIDF}}}note").text = note
    if activity is not None:
        person = etree.SubElement(root, f"{{{DATA_MODEL}}}person", id=f"p{tuple_id}")
        activities = etree.SubElement(person, f"{{{RPID}}}activities")
        etree.SubElement(activities, f"{{{RPID}}}{activity}")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a PIDF document shows."""

    status: str
    """`open` where a tuple is open, else `closed`, or `unknown` without either."""
    activities: list[str]
    notes: list[str]
    tuples: int


def summarize(document: bytes) -> Summary:
    """What the document shows; DocumentError where it cannot be read."""
    root = read_document(document)
    basics = [(basic.text or "").strip() for basic in root.iter(f"{{{PIDF}}}basic")]
    status = next((wanted for wanted in ("open", "closed") if wanted in basics), "unknown")
    activities = [
        etree.QName(child).localname
        for element in root.iter(f"{{{RPID}}}activities")
        for child in element.iterchildren(tag=etree.Element)
        if child.tag != f"{{{RPID}}}note"
    ]
    notes = [
        text.strip()
        for tag in (f"{{{PIDF}}}note", f"{{{DATA_MODEL}}}note", f"{{{RPID}}}note")
        for text in (element.text for element in root.iter(tag))
        if text and text.strip()
    ]
    return Summary(status, activities, notes, len(root.findall(f"{{{PIDF}}}tuple")))


__all__ = ["ACTIVITIES", "DocumentError", "Summary", "summarize", "write"]
