"""Reading XML from strangers (rows SEC-01, SEC-04, PUB-32, PUB-34)."""

import select
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents.xml_reader import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_NAMESPACES,
    DocumentError,
    read_document,
)

DTD = "document type declarations are not accepted"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A loopback address that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def nobody_came(server: socket.socket) -> bool:
    return select.select([server], [], [], 0) == ([], [], [])


@pytest.mark.parametrize(
    "body",
    [
        b"<a/>",
        b"\xef\xbb\xbf<a/>",
        b'<?xml version="1.0"?>\r\n<a>\r</a>',
        b'<?xml version="1.0" encoding="utf-8"?><a>\xc3\xa4</a>',
        "<?xml version='1.0' encoding='UTF-16'?><a>ä</a>".encode("utf-16"),
        "<?xml version='1.0' encoding='ISO-8859-1'?><a>ä</a>".encode("latin-1"),
        b"<a><!-- comment --><?target text?><![CDATA[<&>]]>&#65;&#x42;&lt;&amp;</a>",
        b'<a xmlns="urn:x"><b xmlns=""/></a>',
        b" \n<a/>\n ",
        b"\r\n\t <?xml version='1.0'?><a/>",
    ],
)
def test_pdf_22_and_pdf_01_what_is_well_formed_is_read(body: bytes) -> None:
    assert read_document(body).tag in {"a", "{urn:x}a"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"text",
        b"\x00",
        b"\xff\xfe",
        b"<a",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a b='1' b='2'/>",
        b"<a>&unknown;</a>",
        b"<a>&#0;</a>",
        b"<a>\x01</a>",
        b"<a>\xff</a>",
        b"<p:a/>",
        b"<a p:b='1'/>",
        b"<a xmlns:p=''/>",
        b"<?xml version='1.0' encoding='UTF-16'?><a/>",
        b"<?xml version='1.0' encoding='no-such-code'?><a/>",
        b"<?xml version='1.0'?>" * 2 + b"<a/>",
        b"<a>]]></a>",
    ],
)
def test_pub_32_what_is_not_well_formed_is_refused(body: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^not (well-formed XML at line \d+, column \d+|readable as XML)$"):
        read_document(body)


@pytest.mark.parametrize("code", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "subset",
    [
        "",
        " SYSTEM '{url}/x.dtd'",
        " PUBLIC '-//x' '{url}/x.dtd'",
        " [<!ENTITY x SYSTEM '{url}/x'>]",
        " [<!ENTITY x SYSTEM 'file:///etc/passwd'>]",
        " [<!ENTITY % x SYSTEM '{url}/x'> %x;]",
        " [<!ENTITY a 'aaaaaaaaaa'><!ENTITY x '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]",
        " [<!ENTITY x '&y;'><!ENTITY y '&x;'>]",
        " [<!ELEMENT a ANY><!ATTLIST a b CDATA 'x'>]",
    ],
)
def test_sec_01_and_pub_34_a_document_type_declaration_is_refused_and_nothing_is_fetched(
    subset: str, code: str, listener: socket.socket
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    entity = "&x;" if "ENTITY x" in subset else ""
    name = "utf-16" if code.startswith("utf-16") else "utf-8"
    text = f"<?xml version='1.0' encoding='{name}'?><!DOCTYPE a{subset.format(url=url)}><a c='{entity}'>{entity}</a>"
    with pytest.raises(DocumentError) as raised:
        read_document(text.encode(code))
    assert str(raised.value) == DTD or str(raised.value).startswith("not well-formed")
    assert "root:" not in str(raised.value)
    assert nobody_came(listener)


def test_sec_01_an_entity_bomb_is_refused_before_it_grows() -> None:
    entities = "".join(f"<!ENTITY x{n} '{f'&x{n - 1};' * 10}'>" for n in range(1, 30))
    with pytest.raises(DocumentError, match=DTD):
        read_document(f"<!DOCTYPE a [<!ENTITY x0 'x'>{entities}]><a>&x29;</a>".encode())


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in vectors("security") if v.path.endswith(".xml")], ids=str)
def test_sec_01_documents_with_external_entities_are_refused(vector: Vector, listener: socket.socket) -> None:
    assert vector.expected == ["reject:400"]
    body = vector.data
    assert b"127.0.0.1:65535" in body or b"http://" in body
    here = f"127.0.0.1:{listener.getsockname()[1]}".encode()
    for text in (body, body.replace(b"127.0.0.1:65535", here)):
        with pytest.raises(DocumentError, match=DTD):
            read_document(text)
    assert nobody_came(listener)


DOCUMENTS = [
    vector
    for vector in (*vectors("body"), *vectors("golden"), *vectors("fuzz-seeds"))
    if vector.path.endswith(".xml") and ".tmpl." not in vector.path and not vector.path.startswith("body/pidf/")
]
"""Of every package; those of PIDF are in test_pidf_check.py, and templates are no documents yet."""


@needs_vectors
@pytest.mark.parametrize("vector", DOCUMENTS, ids=str)
def test_pub_32_documents_of_other_packages_are_read_where_they_are_well_formed(vector: Vector) -> None:
    assert set(vector.expected) <= {"accept", "input", "rule", "equals", "reject:400"}
    try:
        outcome = {"accept", "input", "rule", "equals"} if read_document(vector.data).tag else set()
    except DocumentError:
        outcome = {"reject:400"}
    assert outcome & set(vector.expected)


@needs_vectors
def test_every_security_vector_is_read_here_or_is_no_document() -> None:
    others = [vector.path for vector in vectors("security") if not vector.path.endswith(".xml")]
    assert others == ["security/long-contact-notify-sla.sip"]  # a message: tests/unit/sip


def nested(depth: int) -> bytes:
    return b"<a>" * depth + b"</a>" * depth


def wide(elements: int) -> bytes:
    return b"<a>" + b"<b/>" * (elements - 1) + b"</a>"


def declaring(namespaces: int) -> bytes:
    return b"<a>" + b"".join(b"<b xmlns='urn:%d'/>" % number for number in range(namespaces)) + b"</a>"


@pytest.mark.parametrize(
    ("write", "limit", "reason"),
    [
        (nested, MAX_DEPTH, "nested deeper than 64 elements"),
        (wide, MAX_ELEMENTS, "more than 20000 elements"),
        (declaring, MAX_NAMESPACES, "more than 200 namespaces"),
    ],
)
def test_sec_01_depth_size_and_namespaces_are_limited(write: Callable[[int], bytes], limit: int, reason: str) -> None:
    assert read_document(write(limit)).tag == "a"
    with pytest.raises(DocumentError, match=f"^{reason}$"):
        read_document(write(limit + 1))


def test_sec_01_the_same_namespace_may_be_declared_again_and_again() -> None:
    body = b"<a>" + b"<b xmlns='urn:x' xmlns:y='urn:y'/>" * (2 * MAX_NAMESPACES) + b"</a>"
    assert len(read_document(body)) == 2 * MAX_NAMESPACES


def test_sec_01_a_document_far_too_deep_for_the_parser_is_refused_too() -> None:
    with pytest.raises(DocumentError):
        read_document(b"<a>" * 100_000 + b"</a>" * 100_000)


@given(st.binary(max_size=200))
def test_pub_32_any_octets_are_read_or_refused(body: bytes) -> None:
    try:
        said = read_document(body).tag
    except DocumentError as error:
        said = str(error)
    assert said


PIECES = st.sampled_from([
    b"<a", b"<p:a", b"</a>", b"/>", b">", b" x='1'", b" xmlns='urn:x'", b" xmlns:p='urn:p'", b" xmlns=''", b"<!--",
    b"-->", b"<![CDATA[", b"]]>", b"<?x", b"?>", b"&lt;", b"&x;", b"&#x0;", b"\xff", b"\x00", b"<!DOCTYPE a>",
    b"<?xml version='1.0'?>", b"text",
])  # fmt: skip


@given(st.lists(PIECES, max_size=12))
def test_pub_32_and_pub_34_whatever_markup_is_strung_together_is_read_or_refused(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    try:
        root = read_document(body)
    except DocumentError:
        return
    assert root.getroottree().docinfo.internalDTD is None
