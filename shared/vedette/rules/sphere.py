"""The sphere of a presentity (RFC 4480 section 3.10, RFC 5025 section 3.1.2): what <sphere> conditions compare."""

from lxml import etree

from vedette.documents.presence_schema import RPID
from vedette.documents.xml_reader import DocumentError, read_composed

_SPHERE = f"{{{RPID}}}sphere"
_UNKNOWN = "unknown"


def sphere_of(document: bytes) -> str | None:
    """The sphere that a presence document tells, in lower case: `work`.

    None where it tells none, says that it is unknown, or says different things in different places (with several
    publications: unless all that tell one agree). Both forms are read, `<sphere><work/></sphere>` and
    `<sphere>work</sphere>`, and `from` and `until` of the element are not looked at.
    """
    try:
        root = read_composed(document)
    except DocumentError:
        return None
    found: set[str | None] = set()
    for element in root.iter(_SPHERE):
        names = [etree.QName(child).localname for child in element.iterchildren(tag=etree.Element)]
        values = names or [" ".join((element.text or "").split())]
        found.update(None if value.lower() in {"", _UNKNOWN} else value.lower() for value in values)
    return found.pop() if len(found) == 1 else None
