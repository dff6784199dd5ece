"""Making what was published comply with the schemas (rows PDF-05 to PDF-08, PDF-12 to PDF-18, CMP-11).

The schemas that judge are those of other projects; the names that documents are made of are taken from them, too.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.documents.pidf_reading import ALICE, composed, published
from tests.unit.documents.schemas import declared_names, faults
from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents.pidf import PublishedDocument, compose
from vedette.documents.presence_schema import CAPABILITIES, CIPID, DATA_MODEL, PIDF, RPID, TIMED_STATUS, date_time

PREFIXES = {"": PIDF, "dm": DATA_MODEL, "rpid": RPID, "c": CIPID, "k": CAPABILITIES, "s": TIMED_STATUS, "v": "urn:v"}
DECLARATIONS = " ".join(
    f'xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items() if prefix in {"c", "k", "s", "v"}
)
FILES = {"": "pidf", "dm": "data-model", "rpid": "rpid", "c": "cipid", "k": "caps", "s": "timed-status"}
ATTRIBUTES = [
    "id",
    "from",
    "until",
    "priority",
    "xml:lang",
    "xml:space",
    "value",
    "minvalue",
    "maxvalue",
    "idle-threshold",
    "last-input",
    "description",
    "v:a",
    "p:mustUnderstand",
    "xsi:type",
    "xsi:nil",
]
TEXTS = (
    "", " ", "open", "OPEN", "unknown", "true", "0", "1", "-4", "1.5", "0.5", "2026-01-01T00:00:00Z", "a b",
    "2026-02-30T00:00:00Z", "2026-01-01t00:00:00", "24:00", "sip:a@b", "%zz", "http://h:x/", "1:2", "home", "away",
    "de", "not a language", "idle", "<", "é", "urn:uuid:1",
)  # fmt: skip
MORE = 'xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def names() -> list[tuple[str, str]]:
    return [("v", "x"), *((prefix, name) for prefix, file in FILES.items() for name in declared_names(file))]


@st.composite
def elements(draw: st.DrawFn, depth: int) -> str:
    """Elements of all the schemas, in any place and with any text and attributes."""
    prefix, local = draw(st.sampled_from(names()))
    name = f"{prefix}:{local}" if prefix else local
    keys = draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=2, unique=True))
    attributes = "".join(f" {key}={quoteattr(draw(st.sampled_from(TEXTS)))}" for key in keys)
    content = escape(draw(st.sampled_from(TEXTS)))
    if depth:
        content += "".join(draw(st.lists(elements(depth - 1), max_size=2)))
    return f"<{name}{attributes}>{content}</{name}>"


@st.composite
def blocks(draw: st.DrawFn) -> str:
    """Elements in a tuple, a person or a device, where most of them belong."""
    name = draw(st.sampled_from(["tuple", "dm:person", "dm:device"]))
    device = "<dm:deviceID>urn:uuid:1</dm:deviceID>" * draw(st.integers(0, 1))
    return f"<{name}>{device}{''.join(draw(st.lists(elements(1), max_size=3)))}</{name}>"


DOCUMENTS = st.lists(blocks() | elements(1), max_size=3).map("".join)


@needs_vectors
@settings(max_examples=50)
@given(st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_cmp_11_pdf_12_whatever_of_the_schemas_stands_anywhere_what_is_composed_is_valid(contents: list[str]) -> None:
    documents = [
        published(content, scope=f"aaaaa{number}", declarations=f"{DECLARATIONS} {MORE}")
        for number, content in enumerate(contents)
    ]
    written = compose(ALICE, documents)
    assert faults(written) == []
    again = compose(ALICE, [PublishedDocument(written, "bbbbbb")])
    assert len(documents) > 1 or kinds(ET.fromstring(again)) == kinds(ET.fromstring(written))


def kinds(root: ET.Element) -> Counter[tuple[str, str]]:
    """The elements below the root, each with its text."""
    found = itertools.islice(root.iter(), 1, None)
    return Counter((element.tag, in_utc(element.tag, (element.text or "").strip())) for element in found)


def in_utc(tag: str, text: str) -> str:
    """A timestamp gets a zone where it has none."""
    return date_time(text) or text if tag.endswith("}timestamp") else text


def valid_documents() -> Iterator[Vector]:
    for vector in vectors("body/pidf"):
        if vector.expected == ["accept"] and not faults(vector.data):
            yield vector


@needs_vectors
def test_pdf_12_what_is_valid_loses_nothing() -> None:
    count = 0
    for vector in valid_documents():
        root = composed(PublishedDocument(vector.data, "aaaaaa"))
        expected = kinds(ET.fromstring(vector.data))
        assert kinds(root) == expected, vector
        count += 1
    assert count > 20


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("<rpid:activities><rpid:away/>text<rpid:unknown/></rpid:activities>", "activities away"),
        ("<rpid:activities>away</rpid:activities>", "activities away"),
        ("<rpid:activities>gone fishing</rpid:activities>", "activities"),
        ("<rpid:activities><rpid:away>brb</rpid:away></rpid:activities>", "activities away"),
        ("<rpid:sphere>work</rpid:sphere>", "sphere work"),
        ("<rpid:sphere><rpid:home/><rpid:work/></rpid:sphere>", "sphere home"),
        ("<rpid:mood/>", ""),
        ("<rpid:mood><rpid:happy/><rpid:reading/></rpid:mood>", "mood happy"),
        ("<rpid:time-offset>soon</rpid:time-offset>", ""),
        ("<rpid:user-input idle-threshold='-1'>idle</rpid:user-input>", "user-input"),
        ("<rpid:user-input>asleep</rpid:user-input>", ""),
        ("<rpid:place-is><rpid:audio>loud</rpid:audio><rpid:note>n</rpid:note></rpid:place-is>", "place-is note"),
        ("<rpid:unheard-of/>", "unheard-of"),
        ("<v:x><rpid:mood/>kept<v:y/></v:x>", "x y"),
        ("<c:card>%zz</c:card><c:card>1:2</c:card>", "card"),
        ("<k:servcaps><k:audio>yes</k:audio><k:video>true</k:video></k:servcaps>", "servcaps video"),
        ("<s:timed-status from='later'/>", ""),
        ("<tuple id='inner'/><basic>open</basic><presence/>", "tuple basic"),
        ("<v:x><presence xmlns='urn:ietf:params:xml:ns:pidf'/></v:x>", "x"),
    ],
)
def test_pdf_12_pdf_14_what_has_no_place_is_left_out_and_the_rest_stays(written: str, sent: str) -> None:
    root = composed(published(f'<dm:person id="p">{written}</dm:person>', declarations=DECLARATIONS))
    assert [element.tag.partition("}")[2] for element in itertools.islice(root[0].iter(), 1, None)] == sent.split()


def test_pdf_13_each_rpid_element_is_told_once_of_a_person_a_tuple_and_a_device() -> None:
    twice = "<rpid:activities><rpid:{}/></rpid:activities><rpid:class>a</rpid:class>".format
    content = twice("away") + twice("busy") + "<v:x/><v:x/><dm:deviceID>urn:1</dm:deviceID>"
    for place in ("tuple", "dm:person", "dm:device"):
        root = composed(published(f'<{place} id="p">{content}</{place}>', declarations=DECLARATIONS))
        told = Counter(element.tag for element in root[0])
        assert (told[f"{{{RPID}}}activities"], told[f"{{{RPID}}}class"], told["{urn:v}x"]) == (1, 1, 2)
        assert root.find(f".//{{{RPID}}}away") is not None


def test_pdf_12_a_device_that_has_no_name_is_left_out() -> None:
    root = composed(published('<dm:device id="d"><dm:note>n</dm:note></dm:device><dm:person id="p"/>'))
    assert [element.tag for element in root] == [f"{{{DATA_MODEL}}}person"]


@pytest.mark.parametrize("value", ["1", "true"])
def test_pdf_10_an_extension_that_must_be_understood_is_passed_on_and_its_state_stays(value: str) -> None:
    content = (
        f"<tuple id='t'><status><basic>open</basic><v:x p:mustUnderstand='{value}'/><v:y p:mustUnderstand='x'/>"
        "</status></tuple>"
    )
    root = composed(published(content, declarations=f"{DECLARATIONS} {MORE}"))
    status = root[0][0]
    assert [(child.tag, dict(child.attrib)) for child in status] == [
        (f"{{{PIDF}}}basic", {}),
        ("{urn:v}x", {f"{{{PIDF}}}mustUnderstand": value}),
        ("{urn:v}y", {}),
    ]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        (" 2026-01-02t03:04:05.5z\n", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05-07:00", "2026-01-02T03:04:05-07:00"),
        ("2026-01-02T03:04:05+14:30", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-02T24:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2026-01-02", None),
        ("٢٠٢٦-01-02T03:04:05Z", None),
    ],
)
def test_pdf_08_times_are_those_of_rfc_3339(text: str, time: str | None) -> None:
    assert date_time(text) == time
