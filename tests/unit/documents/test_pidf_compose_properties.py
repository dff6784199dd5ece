"""Composition of arbitrary documents (rows CMP-01, CMP-05, CMP-10, CMP-11, PDF-02, PDF-03, PDF-12, PDF-19)."""

import itertools
import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.documents.pidf_reading import ALICE, composed, ids, tuple_ids
from tests.unit.documents.schemas import faults
from tests.vectors import FOLDER, needs_vectors, vectors
from vedette.documents.pidf import PublishedDocument, check, compose
from vedette.documents.presence_schema import CIPID, DATA_MODEL, PIDF, RPID

NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
SCOPED = tuple(f"{{{uri}}}" for uri in (PIDF, DATA_MODEL, RPID, CIPID))
SCOPES = ("0a1b2c", "0a1b2d", "ffffff", "000000")
"""Scopes of the publications of a test, in no order."""


@dataclass(frozen=True)
class Form:
    """How a publisher writes namespaces: a prefix for PIDF ("" for the default), for the data model, for RPID."""

    pidf: str
    model: str
    rpid: str

    @property
    def declarations(self) -> str:
        wanted = ((self.pidf, PIDF), (self.model, DATA_MODEL), (self.rpid, RPID), ("v", "urn:vendor"))
        return "".join(f" xmlns{':' * bool(prefix)}{prefix}='{uri}'" for prefix, uri in wanted)

    def name(self, kind: str, local: str) -> str:
        prefix = {"pidf": self.pidf, "dm": self.model, "rpid": self.rpid, "v": "v", "none": ""}[kind]
        return f"{prefix}:{local}" if prefix else local

    def document(self, content: str) -> bytes:
        root = self.name("pidf", "presence")
        return f"<{root}{self.declarations} entity='pres:a@b'>{content}</{root}>".encode()


USUAL = Form("", "dm", "rpid")
FORMS = st.sampled_from(
    [USUAL, Form("p", "dm", "rpid"), Form("", "pdm", "r"), Form("rpid", "x", "dm"), Form("p", "", "r")]
)

KINDS = ("pidf", "pidf", "pidf", "dm", "rpid", "v", "none")
LOCAL_NAMES = (
    "tuple",
    "status",
    "basic",
    "contact",
    "note",
    "timestamp",
    "person",
    "device",
    "deviceID",
    "away",
    "x",
)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])
IDS = st.one_of(
    st.none(), st.sampled_from(["", "a", "b", "1", "a.b", "a:b", "é", "²"]), st.text(CHARACTERS, max_size=4)
)
"""What strangers put into `id`."""
ATTRIBUTES = st.sampled_from([
    "", "", "", " xml:lang='de'", " v:a='1'", " until='x'", " xmlns=''", " xmlns='urn:w'", " xmlns:v='urn:w'",
    " xmlns:rpid='urn:w'", f" xmlns:q='{PIDF}'",
])  # fmt: skip
TEXTS = st.sampled_from(["", " ", "open", "closed", "<!--c-->x", "<?p i?>", "<![CDATA[<]]>"])


@st.composite
def elements(draw: st.DrawFn, form: Form, depth: int) -> str:
    """Any element at all, most of them in the wrong place."""
    name = form.name(draw(st.sampled_from(KINDS)), draw(st.sampled_from(LOCAL_NAMES)))
    given_id = draw(IDS)
    attributes = ("" if given_id is None else f" id={quoteattr(given_id)}") + draw(ATTRIBUTES)
    content = draw(TEXTS)
    if depth:
        content += "".join(draw(st.lists(elements(form, depth - 1), max_size=2)))
    return f"<{name}{attributes}>{content}</{name}>"


@st.composite
def anything(draw: st.DrawFn) -> bytes:
    """A document whose root is presence, with whatever in it."""
    form = draw(FORMS)
    return form.document("".join(draw(st.lists(elements(form, 2), max_size=3))))


PARTS = ("status", "away", "contact", "note", "note in German", "timestamp", "extension")


@st.composite
def valid(draw: st.DrawFn) -> bytes:
    """A document that the schemas of PIDF, the data model and RPID accept."""
    form = draw(st.sampled_from([USUAL, Form("p", "dm", "rpid"), Form("rpid", "x", "dm")]))
    numbers = itertools.count(1)

    def tag(kind: str, local: str, content: str = "", attributes: str = "") -> str:
        name = form.name(kind, local)
        return f"<{name}{attributes}>{content}</{name}>"

    def block(kind: str, local: str) -> str:
        has = draw(st.sets(st.sampled_from(PARTS)))
        basic = tag("pidf", "basic", draw(st.sampled_from(["open", "closed"]))) if "status" in has else ""
        extension = tag("v", "x") if "extension" in has else ""
        return tag(
            kind,
            local,
            (tag("pidf", "status", basic + extension) if local == "tuple" else "")
            + (tag("rpid", "activities", tag("rpid", "away"), f" id='i{next(numbers)}'") if "away" in has else "")
            + (tag("dm", "deviceID", "urn:x") if local == "device" else "")
            + (
                tag("pidf", "contact", "sip:a@b", " priority='0.5'")
                if (local, "contact") == ("tuple", "contact")
                else ""
            )
            + (tag(kind, "note", "n") if "note" in has else "")
            + (tag(kind, "note", "n", " xml:lang='de'") if "note in German" in has else "")
            + (tag(kind, "timestamp", "2026-01-01T00:00:00Z") if "timestamp" in has else ""),
            f" id='{draw(st.sampled_from('at_'))}{next(numbers)}'",
        )

    content = "".join(block("pidf", "tuple") for _ in range(draw(st.integers(0, 2))))
    content += tag("pidf", "note", "n") if draw(st.booleans()) else ""
    content += "".join(
        block("dm", local) for local in draw(st.lists(st.sampled_from(["person", "device"]), max_size=2))
    )
    return form.document(content)


def publications(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[PublishedDocument]]:
    """Up to four publications, each with a scope of its own."""
    return st.lists(bodies, max_size=4).map(
        lambda found: [PublishedDocument(*pair) for pair in zip(found, SCOPES, strict=False)]
    )


def tuples_in(document: PublishedDocument) -> list[ET.Element]:
    return ET.fromstring(document.body).findall(f"{{{PIDF}}}tuple")


VENDORS = ("{urn:vendor}", "{urn:w}")


def shape(element: ET.Element) -> tuple[str, str, str]:
    """What composition leaves alone of an element: the extensions in it, all but order and what schemas judge."""
    attributes = sorted((name, value) for name, value in element.attrib.items() if element.tag.startswith(VENDORS))
    kept = [child for child in element if child.tag.startswith(VENDORS)]
    return element.tag, repr(attributes), repr(sorted(map(shape, kept)))


@given(publications(anything()))
def test_cmp_11_and_pdf_12_whatever_check_takes_is_composed_and_the_result_is_taken_again(
    documents: list[PublishedDocument],
) -> None:
    assert [check(document.body) for document in documents] == [None] * len(documents)
    written = compose(ALICE, documents)
    assert check(written) is None
    assert compose(ALICE, documents) == written
    root = ET.fromstring(written)
    assert (root.tag, root.attrib) == (f"{{{PIDF}}}presence", {"entity": ALICE})


@needs_vectors
@given(publications(anything()))
def test_cmp_11_and_pdf_12_whatever_is_published_what_comes_out_is_valid(documents: list[PublishedDocument]) -> None:
    assert faults(compose(ALICE, documents)) == []


@given(publications(anything()))
def test_cmp_05_and_pdf_03_ids_are_unique_names(documents: list[PublishedDocument]) -> None:
    root = composed(*documents)
    scoped = [e.attrib["id"] for e in root.iter() if e.tag.startswith(SCOPED) and "id" in e.attrib]
    assert len(set(scoped)) == len(scoped)
    assert [name for name in scoped if NCNAME.fullmatch(name) is None] == []
    assert all("id" in e.attrib for e in root if e.tag in {f"{{{PIDF}}}tuple", f"{{{DATA_MODEL}}}person"})


@given(publications(anything()))
def test_cmp_01_pdf_09_and_pdf_19_each_published_tuple_is_there_once_with_all_it_has(
    documents: list[PublishedDocument],
) -> None:
    sent = composed(*documents).findall(f"{{{PIDF}}}tuple")
    if not documents:
        assert [element.attrib["id"] for element in sent] == ["offline"]
        return
    published = [element for document in documents for element in tuples_in(document)]
    assert sorted(map(shape, sent)) == sorted(map(shape, published))
    owners = [scope for e in sent for scope in SCOPES if scope in e.attrib["id"].split(".")[-2:]]
    assert sorted(owners) == sorted(document.scope for document in documents for _ in tuples_in(document))


@given(publications(anything()))
def test_cmp_05_an_id_stays_whoever_else_publishes(documents: list[PublishedDocument]) -> None:
    together = ids(composed(*documents))
    assert (
        sorted(together) == sorted(name for document in documents for name in ids(composed(document)))
        or not documents
    )


@given(publications(anything()))
def test_clients_8_open_publications_come_first_and_else_the_order_given(documents: list[PublishedDocument]) -> None:
    def is_open(document: PublishedDocument) -> bool:
        states = composed(document).findall(f"{{{PIDF}}}tuple/{{{PIDF}}}status/{{{PIDF}}}basic")
        return any(basic.text == "open" for basic in states)

    ordered = [d for d in documents if is_open(d)] + [d for d in documents if not is_open(d)]
    scopes = [document.scope for document in ordered for _ in tuples_in(document)]
    shown = [name for name in tuple_ids(composed(*documents)) if name != "offline"]
    assert [scope in name.split(".")[-2:] for scope, name in zip(scopes, shown, strict=True)] == [True] * len(shown)
    assert compose(ALICE, ordered) == compose(ALICE, documents)


HEAD = re.compile(
    r'<\?xml version="1.0" encoding="UTF-8"\?>\n'
    r'<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
    r'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"( xmlns:\w+="[^"]*")* entity="sip:alice@example\.com"'
)


@given(publications(anything()))
def test_clients_7_pidf_is_the_default_namespace_and_empty_elements_are_self_closed(
    documents: list[PublishedDocument],
) -> None:
    written = compose(ALICE, documents).decode()
    assert HEAD.match(written)
    assert re.search(r"<([\w:.]+)[^>]*(?<!/)></\1>", written) is None


@given(publications(valid()))
def test_clients_7_basic_has_no_prefix_and_no_attribute_and_rpid_elements_are_self_closed(
    documents: list[PublishedDocument],
) -> None:
    written = compose(ALICE, documents).decode()
    root = ET.fromstring(written)
    assert len(re.findall(r"<basic>(?:open|closed)</basic>", written)) == len(list(root.iter(f"{{{PIDF}}}basic")))
    assert len(re.findall(r"<rpid:away/>", written)) == len(list(root.iter(f"{{{RPID}}}away")))


@needs_vectors
@given(publications(valid()))
def test_cmp_11_and_pdf_02_what_is_composed_of_valid_documents_is_valid(documents: list[PublishedDocument]) -> None:
    assert [fault for document in documents for fault in faults(document.body)] == []
    assert faults(compose(ALICE, documents)) == []


REAL = [vector.path for vector in vectors("body/pidf") if vector.expected == ["accept"]]


@needs_vectors
@settings(max_examples=50)
@given(publications(st.sampled_from(REAL or [""]).map(lambda path: (FOLDER / path).read_bytes())))
def test_cmp_01_and_cmp_11_documents_of_real_clients_are_composed_together(
    documents: list[PublishedDocument],
) -> None:
    written = compose(ALICE, documents)
    assert check(written) is None
    names = [name for name in tuple_ids(ET.fromstring(written)) if name != "offline"]
    published = [len(tuples_in(document)) for document in documents]
    # fewer than all where documents are about the same device
    assert max(published, default=0) <= len(set(names)) == len(names) <= sum(published)
    assert faults(written) == []


@pytest.mark.parametrize("position", range(0, 100, 7))
def test_pub_32_a_document_cut_anywhere_is_refused_and_composes_as_if_it_were_not_there(position: int) -> None:
    whole = USUAL.document("<tuple id='t'><status><basic>open</basic></status></tuple>")
    cut = whole[: -1 - position]
    assert check(cut) is not None
    other = PublishedDocument(whole, "b")
    assert compose(ALICE, [PublishedDocument(cut, "a"), other]) == compose(ALICE, [other])
