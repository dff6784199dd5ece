"""Taking composed documents apart, with another reader than the one that composed them."""

from xml.etree import ElementTree as ET

from vedette.documents.pidf import PublishedDocument, compose
from vedette.documents.presence_schema import DATA_MODEL, PIDF

ALICE = "sip:alice@example.com"


def published(content: str, *, scope: str = "aaaaaa", declarations: str = "") -> PublishedDocument:
    """A publication with that content of `presence`; PIDF is the default, dm and rpid have these prefixes."""
    return PublishedDocument(document(content, declarations=declarations), scope)


def document(content: str, *, declarations: str = "") -> bytes:
    """A PIDF document with that content."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" '
        f'xmlns:rpid="{PIDF}:rpid" {declarations} entity="pres:someone@example.net">{content}</presence>'
    ).encode()


def tuple_of(name: str, basic: str = "open", rest: str = "") -> str:
    """A tuple."""
    return f'<tuple id="{name}"><status><basic>{basic}</basic></status>{rest}</tuple>'


def composed(*documents: PublishedDocument) -> ET.Element:
    """The root of what is composed of these publications."""
    return ET.fromstring(compose(ALICE, documents))


def ids(root: ET.Element) -> list[str]:
    """All ids in document order."""
    return [element.attrib["id"] for element in root.iter() if "id" in element.attrib]


def tuple_ids(root: ET.Element) -> list[str]:
    """The ids of the tuples in document order."""
    return [element.attrib["id"] for element in root.findall(f"{{{PIDF}}}tuple")]


def meaning(element: ET.Element | str) -> str:
    """The canonical form of an element, the same for all ways to write the same."""
    read = ET.fromstring(element) if isinstance(element, str) else element
    return ET.canonicalize(ET.tostring(read, encoding="unicode"), strip_text=True)
