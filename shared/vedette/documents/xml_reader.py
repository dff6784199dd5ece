"""Reading XML from strangers: no DTD, no entities, no network, bounded depth, size and namespaces."""

import re

from lxml import etree

MAX_DEPTH = 64
MAX_ELEMENTS = 20_000
MAX_NAMESPACES = 200
"""Different declarations; the time to move elements between documents grows with their square."""

_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
"""Comments and processing instructions would cut the text around them in pieces."""
_UTF_8 = re.compile(
    rb"<(?!\?xml\b)|<\?xml\s[^>]*?\bencoding\s*=\s*[\"']UTF-8[\"']|<\?xml\s(?![^>]*\bencoding\b)", re.IGNORECASE
)
"""The beginning of a document in UTF-8: what is written otherwise need not show its elements by their octets."""
_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class DocumentError(ValueError):
    """A document that cannot be used; the text says why and quotes nothing of it."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        """Where it is not well-formed."""


def read_document(body: bytes) -> etree._Element:
    """The root element of a document.

    Raises DocumentError where it is not well-formed, has a document type declaration, is nested deeper than
    MAX_DEPTH, has more than MAX_ELEMENTS elements or declares more than MAX_NAMESPACES namespaces. White space
    before the XML declaration is passed over, though strictly it is a fault. Comments and processing instructions are
    left out.
    """
    if _DOCTYPE.search(body):
        raise DocumentError("document type declarations are not accepted")
    body = body.lstrip(b" \t\r\n")
    try:
        root = etree.fromstring(body, _PARSER)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise DocumentError(f"not well-formed XML at line {line}, column {column}", line) from None
    except ValueError:
        raise DocumentError("not readable as XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DocumentError("document type declarations are not accepted")
    if not _is_small(body):
        _limit(root)
    return root


def read_composed(document: bytes) -> etree._Element:
    """The root element of a document that we wrote ourselves: it may be larger than what a stranger may send.

    Raises DocumentError where it is not well-formed.
    """
    try:
        return etree.fromstring(document, _PARSER)
    except (etree.XMLSyntaxError, ValueError):
        raise DocumentError("not readable as XML") from None


def _is_small(body: bytes) -> bool:
    """Whether the octets alone show that no limit is reached: each element and each namespace needs some of them."""
    return (
        _UTF_8.match(body) is not None
        and b"\0" not in body
        and body.count(b"<") <= MAX_DEPTH
        and body.count(b"xmlns") <= MAX_NAMESPACES
    )


def _limit(root: etree._Element) -> None:
    count = 0
    depth = 0
    declared: set[object] = set()
    for event, what in etree.iterwalk(root, events=("start", "end", "start-ns")):
        if event == "start-ns":
            declared.add(what)
            if len(declared) > MAX_NAMESPACES:
                raise DocumentError(f"more than {MAX_NAMESPACES} namespaces")
            continue
        depth += 1 if event == "start" else -1
        count += event == "start"
        if depth > MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH} elements")
        if count > MAX_ELEMENTS:
            raise DocumentError(f"more than {MAX_ELEMENTS} elements")
