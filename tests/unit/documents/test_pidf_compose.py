"""Composition, rule by rule (docs/composition.md; rows CMP, PDF, PRS-18, PUB-29; clients.md 5 to 8)."""

import itertools
from xml.etree import ElementTree as ET

import pytest

from tests.unit.documents.pidf_reading import (
    ALICE,
    composed,
    document,
    ids,
    meaning,
    published,
    tuple_ids,
    tuple_of,
)
from tests.unit.documents.schemas import faults
from tests.vectors import needs_vectors
from vedette.documents.pidf import PublishedDocument, check, compose, neutral
from vedette.documents.presence_schema import PIDF, RPID

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
    'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" '
    'entity="sip:alice@example.com">'
)


def text_of(*documents: PublishedDocument) -> str:
    """The content of the `presence` that is composed, as it is written."""
    written = compose(ALICE, documents).decode()
    assert written.startswith(HEAD)
    assert written.endswith("</presence>") or not documents
    return written.removeprefix(HEAD).removesuffix("</presence>")


def test_prs_18_and_cmp_04_nothing_published_is_one_closed_tuple() -> None:
    expected = HEAD + '<tuple id="offline"><status><basic>closed</basic></status></tuple></presence>'
    assert neutral(ALICE).decode() == expected
    assert compose(ALICE, []).decode() == expected
    assert check(neutral(ALICE)) is None


def test_prs_18_what_can_no_longer_be_read_counts_as_not_published() -> None:
    broken = PublishedDocument(b"<presence", "bbbbbb")
    assert compose(ALICE, [broken]) == neutral(ALICE)
    whole = published(tuple_of("a"))
    assert compose(ALICE, [broken, whole]) == compose(ALICE, [whole])


def test_cmp_01_two_publications_are_united() -> None:
    root = composed(published(tuple_of("desk"), scope="aaaaaa"), published(tuple_of("soft"), scope="bbbbbb"))
    assert tuple_ids(root) == ["desk.aaaaaa", "soft.bbbbbb"]


def test_cmp_01_everything_that_is_not_a_tuple_is_united_too() -> None:
    content = (
        "<note>{0}</note><dm:person id='p'><rpid:mood><rpid:happy/></rpid:mood></dm:person>"
        "<x:own xmlns:x='urn:x'>{0}</x:own>"
    )
    text = text_of(
        published(tuple_of("t") + content.format(1)), published(tuple_of("t") + content.format(2), scope="bbbbbb")
    )
    assert text == (
        '<tuple id="t.aaaaaa"><status><basic>open</basic></status></tuple>'
        '<tuple id="t.bbbbbb"><status><basic>open</basic></status></tuple>'
        "<note>1</note><note>2</note>"
        '<dm:person id="p.aaaaaa"><rpid:mood><rpid:happy/></rpid:mood></dm:person><x:own xmlns:x="urn:x">1</x:own>'
        '<dm:person id="p.bbbbbb"><rpid:mood><rpid:happy/></rpid:mood></dm:person><x:own xmlns:x="urn:x">2</x:own>'
    )


def test_cmp_05_pub_29_and_pdf_03_equal_ids_of_two_publications_stay_apart_and_stable() -> None:
    first = published(tuple_of("t1") + "<dm:person id='p1'/>", scope="aaaaaa")
    second = published(tuple_of("t1") + "<dm:person id='p1'/>", scope="bbbbbb")
    both = ids(composed(first, second))
    assert sorted(both) == ["p1.aaaaaa", "p1.bbbbbb", "t1.aaaaaa", "t1.bbbbbb"]
    assert sorted(ids(composed(second, first))) == sorted(both)
    assert ids(composed(first)) == ["t1.aaaaaa", "p1.aaaaaa"]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("t1", "t1.aaaaaa"),
        ("_x.y-z", "_x.y-z.aaaaaa"),
        ("1", "t1.aaaaaa"),
        ("-a", "t-a.aaaaaa"),
        (".a", "t.a.aaaaaa"),
        ("", "t.aaaaaa"),
        ("alice@example.com", "alice_example.com.aaaaaa"),
        ("sip:+49;x", "sip__49_x.aaaaaa"),
        ("a b", "a_b.aaaaaa"),
        ("é", "_.aaaaaa"),
        ("²ª", "__.aaaaaa"),
        ("&lt;&quot;&amp;", "___.aaaaaa"),
    ],
)
def test_pdf_03_every_id_is_a_name(written: str, sent: str) -> None:
    assert ids(composed(published(f'<tuple id="{written}"/>'))) == [sent]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ("<tuple/>", ["t.aaaaaa"]),
        ("<tuple/><tuple/><tuple/>", ["t.aaaaaa", "t.aaaaaa.2", "t.aaaaaa.3"]),
        ("<tuple id='é'/><tuple id='è'/>", ["_.aaaaaa", "_.aaaaaa.2"]),
        ("<tuple id='a'/><tuple id='a'/><dm:person id='a'/>", ["a.aaaaaa", "a.aaaaaa.2", "a.aaaaaa.3"]),
        ("<tuple id='1'/><tuple id='t1'/>", ["t1.aaaaaa", "t1.aaaaaa.2"]),
        ("<dm:person/><dm:device><dm:deviceID>urn:x</dm:deviceID></dm:device>", ["t.aaaaaa", "t.aaaaaa.2"]),
    ],
)
def test_pdf_03_and_pdf_11_ids_that_are_missing_or_repeated_are_made(content: str, sent: list[str]) -> None:
    assert ids(composed(published(content))) == sent


def test_pdf_03_publications_whose_scopes_happen_to_be_equal_have_different_ids_too() -> None:
    one, two = published(tuple_of("a")), published(tuple_of("a", "closed"))
    assert tuple_ids(composed(one, two)) == ["a.aaaaaa", "a.aaaaaa.2"]


def test_pdf_14_ids_of_rpid_elements_are_scoped_and_those_of_other_namespaces_are_left_alone() -> None:
    content = (
        "<dm:person id='p'><rpid:activities id='x'><rpid:away/></rpid:activities></dm:person>"
        "<o:thing xmlns:o='urn:o' id='x'/>"
    )
    assert ids(composed(published(content))) == ["p.aaaaaa", "x.aaaaaa", "x"]


@pytest.mark.parametrize(
    ("states", "order"),
    [
        (["open", "open"], ["0", "1"]),
        (["closed", "open"], ["1", "0"]),
        (["closed", "closed"], ["0", "1"]),
        (["closed", "open", "unknown", "open"], ["1", "3", "0", "2"]),
        (["OPEN", "closed"], ["0", "1"]),
        (["closed", " open "], ["1", "0"]),
        (["", "closed", "open"], ["2", "0", "1"]),
    ],
)
def test_clients_8_open_publications_come_first_and_then_the_newest(states: list[str], order: list[str]) -> None:
    documents = [published(tuple_of(f"t{n}", state), scope=f"{n}") for n, state in enumerate(states)]
    assert [name.rpartition(".")[2] for name in tuple_ids(composed(*documents))] == order


def test_clients_8_within_a_publication_the_publishers_order_stays() -> None:
    content = tuple_of("a", "closed") + tuple_of("b", "open") + tuple_of("c", "closed")
    assert tuple_ids(composed(published(content))) == ["a.aaaaaa", "b.aaaaaa", "c.aaaaaa"]


def test_cmp_10_the_order_of_arrival_does_not_show_beyond_the_order_of_states() -> None:
    opened = published(tuple_of("a", "open"), scope="aaaaaa")
    others = [published(tuple_of("b", "closed"), scope="bbbbbb"), published(tuple_of("c", "open"), scope="cccccc")]
    results = {tuple(sorted(ids(composed(*order)))) for order in itertools.permutations([opened, *others])}
    assert results == {("a.aaaaaa", "b.bbbbbb", "c.cccccc")}


def test_cmp_08_several_persons_are_all_kept() -> None:
    person = "<dm:person id='p'><rpid:activities><rpid:{}/></rpid:activities></dm:person>"
    root = composed(published(person.format("away")), published(person.format("busy"), scope="bbbbbb"))
    assert [e[0].tag for e in root.iter(f"{{{RPID}}}activities")] == [f"{{{RPID}}}away", f"{{{RPID}}}busy"]


@pytest.mark.parametrize("other", ["pres:bob@example.net", "", "alice%40example.test"])
def test_pub_35_and_pdf_23_entity_is_the_presentity_whatever_was_published(other: str) -> None:
    body = f'<presence xmlns="{PIDF}" entity="{other}">{tuple_of("a")}</presence>'.encode()
    assert composed(PublishedDocument(body, "aaaaaa")).get("entity") == ALICE


@pytest.mark.parametrize(
    "body",
    [
        (
            f'<presence xmlns="{PIDF}" xmlns:dm="{PIDF}:data-model" xmlns:rpid="{RPID}">'
            '<tuple id="t"><status><basic>open</basic></status></tuple>'
            '<dm:person id="p"><rpid:activities><rpid:away/></rpid:activities></dm:person></presence>'
        ),
        (
            f'<a:presence xmlns:a="{PIDF}" xmlns:b="{PIDF}:data-model" xmlns:c="{RPID}">'
            '<a:tuple id="t"><a:status><a:basic>open</a:basic></a:status></a:tuple>'
            '<b:person id="p"><c:activities><c:away></c:away></c:activities></b:person></a:presence>'
        ),
        (
            f'<presence xmlns="{PIDF}"><tuple id="t"><status><basic>open</basic></status></tuple>'
            f'<person xmlns="{PIDF}:data-model" id="p"><activities xmlns="{RPID}"><away/></activities></person>'
            "</presence>"
        ),
        (
            f'<dm:presence xmlns:dm="{PIDF}" xmlns="{RPID}"><dm:tuple id="t"><dm:status><dm:basic>open</dm:basic>'
            f'</dm:status></dm:tuple><rpid:person xmlns:rpid="{PIDF}:data-model" id="p">'
            "<activities><away/></activities></rpid:person></dm:presence>"
        ),
    ],
    ids=["usual", "prefixed", "defaults", "swapped"],
)
def test_clients_7_and_pdf_19_any_prefixes_come_out_as_the_ones_that_phones_look_for(body: str) -> None:
    assert text_of(PublishedDocument(body.encode(), "aaaaaa")) == (
        '<tuple id="t.aaaaaa"><status><basic>open</basic></status></tuple>'
        '<dm:person id="p.aaaaaa"><rpid:activities><rpid:away/></rpid:activities></dm:person>'
    )


def test_pdf_19_one_prefix_for_two_namespaces_in_two_publications_mixes_nothing_up() -> None:
    one = published("<x:a x:b='1'>1</x:a>", declarations='xmlns:x="urn:1"')
    two = published("<x:a x:b='2'>2</x:a>", scope="bbbbbb", declarations='xmlns:x="urn:2"')
    written = compose(ALICE, [one, two])
    root = ET.fromstring(written)
    assert [(e.tag, e.text, dict(e.attrib)) for e in root] == [
        ("{urn:1}a", "1", {"{urn:1}b": "1"}),
        ("{urn:2}a", "2", {"{urn:2}b": "2"}),
    ]
    assert b'<x:a x:b="1">1</x:a>' in written


def test_pdf_19_a_prefix_that_we_use_ourselves_may_mean_something_else_to_the_publisher() -> None:
    body = (
        f'<presence xmlns="{PIDF}" xmlns:rpid="urn:other" xmlns:dm="urn:more"><tuple id="t">'
        '<rpid:a dm:b="1"/></tuple></presence>'
    )
    root = composed(PublishedDocument(body.encode(), "aaaaaa"))
    assert [(e.tag, dict(e.attrib)) for e in root[0] if e.tag != f"{{{PIDF}}}status"] == [
        ("{urn:other}a", {"{urn:more}b": "1"})
    ]


def test_pdf_19_elements_of_no_namespace_do_not_become_pidfs_own() -> None:
    body = (
        f'<p:presence xmlns:p="{PIDF}"><p:tuple id="t"><p:status><basic>open</basic> 1<p:basic>closed</p:basic> 2'
        '<x/> 3</p:status></p:tuple><tuple id="t"><status/></tuple><note a="1">n</note></p:presence>'
    )
    assert text_of(PublishedDocument(body.encode(), "aaaaaa")) == (
        '<tuple id="t.aaaaaa"><status><basic>closed</basic></status></tuple>'
    )


@pytest.mark.parametrize(
    ("content", "inside"),
    [
        ("<a xmlns='urn:v' xmlns:p='{PIDF}'><p:basic/></a>", ["{urn:v}a", "{PIDF}basic"]),
        ("<a xmlns='urn:v'><q:basic/></a>", ["{urn:v}a", "{PIDF}basic"]),
        ("<a:x><q:x xmlns=''><q:basic/></q:x></a:x>", ["{urn:a}x", "{PIDF}x", "{PIDF}basic"]),
        (
            "<a:x><dm:b xmlns:dm='urn:v'><m:person/></dm:b></a:x>",
            ["{urn:a}x", "{urn:v}b", "{PIDF}:data-model person"],
        ),
        ("<a:x><rpid:b xmlns:rpid='urn:v'><a:b rpid:c='1'/></rpid:b></a:x>", ["{urn:a}x", "{urn:v}b", "{urn:a}b"]),
        ("<m:x><a:b xmlns:a='urn:v'><b:c/></a:b></m:x>", ["{PIDF}:data-model x", "{urn:v}b", "{urn:a}c"]),
    ],
)
def test_pdf_19_a_prefix_bound_anew_below_means_what_it_meant(content: str, inside: list[str]) -> None:
    declared = f'xmlns:a="urn:a" xmlns:b="urn:a" xmlns:m="{PIDF}:data-model"'
    if "q:" in content:
        declared += f' xmlns:q="{PIDF}"'
    body = f'<presence xmlns="{PIDF}" {declared}><tuple id="t">{content.replace("{PIDF}", PIDF)}</tuple></presence>'
    root = composed(PublishedDocument(body.encode(), "aaaaaa"))
    names = [element.tag for element in root[0].iter()][2:]
    assert names == [name.replace("}:data-model ", ":data-model}").replace("{PIDF", f"{{{PIDF}") for name in inside]


def test_pdf_19_more_prefixes_than_we_declare_at_the_root_are_declared_where_they_are_used() -> None:
    declarations = " ".join(f'xmlns:p{n}="urn:{n}"' for n in range(150))
    written = compose(ALICE, [published("<p0:a/><p149:a><p148:b/></p149:a>", declarations=declarations)])
    root = ET.fromstring(written)
    assert [e.tag for e in root.iter()][1:] == ["{urn:0}a", "{urn:149}a", "{urn:148}b"]
    assert written.partition(b"entity=")[0].count(b"xmlns") == 64


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (
            (
                "<timestamp>2026-01-01T00:00:00Z</timestamp><note>n</note><contact>sip:a@b</contact>"
                "<rpid:class>c</rpid:class><status><rpid:x/><basic>open</basic></status>"
            ),
            (
                "<status><basic>open</basic><rpid:x/></status><rpid:class>c</rpid:class>"
                "<contact>sip:a@b</contact><note>n</note><timestamp>2026-01-01T00:00:00Z</timestamp>"
            ),
        ),
        ("<contact>sip:a@b</contact>", "<status/><contact>sip:a@b</contact>"),
        ("", "<status/>"),
        ("<!-- c --><contact>sip:a@b</contact>", "<status/><contact>sip:a@b</contact>"),
        ("<note>1</note><note>2</note><status/>", "<status/><note>1</note><note>2</note>"),
        ("<o:x xmlns:o='urn:o'/><unknown/><status/>", '<status/><o:x xmlns:o="urn:o"/>'),
    ],
)
def test_pdf_07_pdf_04_and_cmp_11_children_of_a_tuple_are_in_order_and_a_status_among_them(
    written: str, sent: str
) -> None:
    assert text_of(published(f'<tuple id="t">{written}</tuple>')) == f'<tuple id="t.aaaaaa">{sent}</tuple>'


@pytest.mark.parametrize("kind", ["person", "device"])
def test_cmp_11_children_of_persons_and_devices_are_in_order(kind: str) -> None:
    timestamp, note = "<dm:timestamp>2026-01-01T00:00:00Z</dm:timestamp>", "<dm:note>n</dm:note>"
    mood, device = "<rpid:mood><rpid:sad/></rpid:mood>", "<dm:deviceID>urn:x</dm:deviceID>" * (kind == "device")
    text = text_of(published(f'<dm:{kind} id="a">{timestamp}{note}{device}{mood}</dm:{kind}>'))
    assert text == f'<dm:{kind} id="a.aaaaaa">{mood}{device}{note}{timestamp}</dm:{kind}>'


@needs_vectors
@pytest.mark.parametrize("scopes", [("aaaaaa",), ("aaaaaa", "bbbbbb"), ("aaaaaa", "aaaaaa")])
def test_cmp_11_what_is_composed_of_documents_in_disorder_is_valid(scopes: tuple[str, ...]) -> None:
    content = (
        "<note>late</note><dm:person><dm:note>n</dm:note><rpid:mood><rpid:happy/></rpid:mood></dm:person>"
        "<tuple id='1'><timestamp>2026-01-01T00:00:00Z</timestamp><note>x</note><contact>sip:a@b</contact></tuple>"
        "<dm:device id='²'><dm:note>d</dm:note><dm:deviceID>urn:x</dm:deviceID></dm:device><stray/><tuple id='1'/>"
    )
    assert faults(document(content)) != []
    assert faults(compose(ALICE, [published(content, scope=scope) for scope in scopes])) == []
    assert faults(neutral(ALICE)) == []


KEPT = [
    "<rpid:activities id='a' from='2026-01-01T00:00:00Z' until='2026-01-02T00:00:00Z'><rpid:busy/></rpid:activities>",
    "<rpid:activities><rpid:note>n</rpid:note><rpid:on-the-phone/></rpid:activities>",
    "<rpid:mood><rpid:happy/><rpid:other>odd</rpid:other></rpid:mood>",
    "<rpid:place-is><rpid:audio><rpid:noisy/></rpid:audio></rpid:place-is>",
    "<rpid:place-type><lt:home xmlns:lt='urn:ietf:params:xml:ns:location-type'/></rpid:place-type>",
    "<rpid:privacy><rpid:audio/></rpid:privacy>",
    "<rpid:sphere><rpid:work/></rpid:sphere>",
    "<rpid:status-icon>http://icons.example/away.png</rpid:status-icon>",
    "<rpid:time-offset>-240</rpid:time-offset>",
    "<rpid:user-input last-input='2026-01-01T00:00:00Z' idle-threshold='600'>idle</rpid:user-input>",
    "<rpid:class>friends</rpid:class>",
    "<c:card xmlns:c='urn:ietf:params:xml:ns:pidf:cipid'>http://cards.example/a.vcf</c:card>",
    "<c:display-name xmlns:c='urn:ietf:params:xml:ns:pidf:cipid'>Alice</c:display-name>",
    "<v:own xmlns:v='urn:vendor'><v:deep a='1'>text<v:b/>tail</v:deep></v:own>",
]


@pytest.mark.parametrize("element", KEPT, ids=[element.split(">")[0].split(" ")[0][1:] for element in KEPT])
@pytest.mark.parametrize("place", ["tuple", "dm:person"])
def test_pdf_09_pdf_14_and_pdf_17_extensions_are_kept_in_tuples_and_persons(element: str, place: str) -> None:
    root = composed(published(f'<{place} id="t">{element}</{place}>'))
    found = [e for e in root[0] if e.tag != f"{{{PIDF}}}status"]
    assert len(found) == 1
    expected = ET.fromstring(f'<x xmlns:rpid="{RPID}">{element}</x>'.replace("id='a'", "id='a.aaaaaa'"))[0]
    assert meaning(found[0]) == meaning(expected)


@pytest.mark.parametrize(
    ("place", "element"),
    [
        ("tuple", f"<c:servcaps xmlns:c='{PIDF}:caps'><c:audio>true</c:audio></c:servcaps>"),
        (
            "tuple",
            (
                f"<c:servcaps xmlns:c='{PIDF}:caps'><c:methods><c:supported><c:INVITE/></c:supported><c:notsupported>"
                "<c:REFER/></c:notsupported></c:methods><c:type>text/plain</c:type></c:servcaps>"
            ),
        ),
        (
            "dm:device",
            (
                f"<c:devcaps xmlns:c='{PIDF}:caps'><c:mobility><c:supported><c:mobile/></c:supported></c:mobility>"
                "</c:devcaps>"
            ),
        ),
        (
            "tuple",
            (
                f"<s:timed-status xmlns:s='{PIDF}:timed-status' from='2026-01-01T00:00:00Z'><s:basic>open</s:basic>"
                "</s:timed-status>"
            ),
        ),
    ],
    ids=["servcaps", "methods", "devcaps", "timed-status"],
)
def test_pdf_16_and_pdf_18_capabilities_and_timed_states_are_kept(place: str, element: str) -> None:
    urn = "<dm:deviceID>urn:x</dm:deviceID>"
    root = composed(published(f'<{place} id="t">{element}{urn}</{place}>'))
    assert meaning(root[0][-2]) == meaning(element)


def test_pdf_16_a_timed_status_does_not_make_its_tuple_open() -> None:
    timed = f"<s:timed-status xmlns:s='{PIDF}:timed-status'><s:basic>open</s:basic></s:timed-status>"
    later = published(tuple_of("later", "closed", timed), scope="aaaaaa")
    now = published(tuple_of("now", "open"), scope="bbbbbb")
    assert tuple_ids(composed(later, now)) == ["now.bbbbbb", "later.aaaaaa"]


def test_pdf_22_cdata_entities_line_ends_and_comments_mean_what_they_meant() -> None:
    content = (
        "<tuple id='t'><status><basic><![CDATA[open]]></basic></status>"
        "<note>a&#228;&lt;b\r\nc<!-- x --></note></tuple>"
    )
    root = composed(published(content))
    assert root.findtext(f".//{{{PIDF}}}basic") == "open"
    note = root.find(f".//{{{PIDF}}}note")
    assert note is not None
    assert note.text == "aä<b\nc"


def test_pdf_01_other_encodings_become_utf_8() -> None:
    text = f'<?xml version="1.0" encoding="{{}}"?><presence xmlns="{PIDF}"><note>ä</note></presence>'
    for code in ("UTF-16", "ISO-8859-1", "UTF-8"):
        assert text_of(PublishedDocument(text.format(code).encode(code), "aaaaaa")) == "<note>ä</note>"


def test_clients_7_empty_elements_are_self_closed_and_basic_has_neither_prefix_nor_attribute() -> None:
    text = text_of(
        published(
            f'<p:tuple xmlns:p="{PIDF}" id="t"><p:status><p:basic>open</p:basic></p:status>'
            "<rpid:away></rpid:away></p:tuple>"
        )
    )
    assert "<basic>open</basic>" in text
    assert "<rpid:away/>" in text


def test_pub_28_a_publication_is_only_what_its_last_document_says() -> None:
    three = published("".join(tuple_of(name) for name in ("a", "b", "c")))
    two = published("".join(tuple_of(name) for name in ("c", "d")))
    assert tuple_ids(composed(three)) == ["a.aaaaaa", "b.aaaaaa", "c.aaaaaa"]
    assert tuple_ids(composed(two)) == ["c.aaaaaa", "d.aaaaaa"]


def test_sec_01_thousands_of_equal_ids_are_told_apart() -> None:
    # The time for it was quadratic once: a PUBLISH of 130 kB held up a notifier for a quarter of a minute.
    names = ids(composed(published("<tuple/>" * 9_000)))
    assert names[:2] == ["t.aaaaaa", "t.aaaaaa.2"]
    assert names[-1] == "t.aaaaaa.9000"
    assert len(set(names)) == 9_000
