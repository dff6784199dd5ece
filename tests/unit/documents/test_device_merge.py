"""What several publications say of one device (RFC 4479; rows CMP-05, CMP-06, CMP-10, CMP-11)."""

from xml.etree import ElementTree as ET

import pytest

from tests.unit.documents.pidf_reading import ALICE, composed, published, tuple_ids, tuple_of
from tests.unit.documents.schemas import faults
from tests.vectors import needs_vectors
from vedette.documents.pidf import PublishedDocument, compose
from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID

DECLARATIONS = 'xmlns:v="urn:vendor"'


def on(device: str, contact: str = "sip:alice@192.0.2.1", more: str = "") -> str:
    """What a tuple has that names its device."""
    return f"{more}<dm:deviceID>{device}</dm:deviceID><contact>{contact}</contact>"


def phone(scope: str, *content: str) -> PublishedDocument:
    return published("".join(content), scope=scope, declarations=DECLARATIONS)


def told(element: ET.Element) -> list[tuple[str, str]]:
    """The children of an element: their names and texts."""
    return [(child.tag.partition("}")[2], "".join(child.itertext())) for child in element]


def test_cmp_06_a_phone_that_starts_anew_is_one_tuple_and_the_newest_state_holds() -> None:
    new = phone("bbbbbb", tuple_of("n", "closed", on("urn:uuid:1A")))
    old = phone("aaaaaa", tuple_of("o", "open", on("urn:uuid:1a", "sip:alice@192.0.2.9:5080", "<v:x>kept</v:x>")))
    root = composed(new, old)
    assert tuple_ids(root) == ["o.aaaaaa"]
    assert told(root[0]) == [
        ("status", "closed"), ("deviceID", "urn:uuid:1A"), ("x", "kept"), ("contact", "sip:alice@192.0.2.1"),
    ]  # fmt: skip


def test_cmp_05_cmp_06_the_id_does_not_depend_on_who_published_last() -> None:
    one = phone("bbbbbb", tuple_of("n", rest=on("urn:x")))
    other = phone("aaaaaa", tuple_of("o", rest=on("urn:x")))
    third = phone("cccccc", tuple_of("p", rest=on("urn:x")))
    assert {tuple_ids(composed(*docs))[0] for docs in ((one, other), (other, one), (third, one, other))} == {
        "o.aaaaaa"
    }
    assert tuple_ids(composed(one)) == ["n.bbbbbb"]


def test_cmp_06_where_all_have_a_timestamp_the_latest_holds() -> None:
    def at(scope: str, basic: str, time: str) -> PublishedDocument:
        return phone(scope, tuple_of("t", basic, f"{on('urn:x')}<timestamp>{time}</timestamp>"))

    early = at("aaaaaa", "open", "2026-01-01T12:00:00Z")
    late = at("bbbbbb", "closed", "2026-01-01T12:00:00.5+00:00")
    later = at("cccccc", "open", "2026-01-01T11:30:00-01:00")
    none = phone("dddddd", tuple_of("t", "closed", on("urn:x")))
    for documents, basic in (
        ((early, late), "closed"),
        ((late, early), "closed"),
        ((early, late, later), "open"),
        ((early, none, later), "open"),
        ((none, later), "closed"),
    ):
        [element] = composed(*documents).findall(f"{{{PIDF}}}tuple")
        assert element.findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic") == basic


def test_cmp_06_devices_of_one_name_are_one_and_what_the_newest_says_of_each_thing_holds() -> None:
    def device(scope: str, content: str, note: str) -> PublishedDocument:
        return phone(
            scope, f'<dm:device id="d">{content}<dm:deviceID>urn:x</dm:deviceID><dm:note>{note}</dm:note></dm:device>'
        )

    new = device("bbbbbb", "<rpid:user-input>idle</rpid:user-input>", "new")
    old = device("aaaaaa", "<rpid:user-input>active</rpid:user-input><v:battery>9</v:battery>", "old")
    other = phone("cccccc", '<dm:device id="e"><dm:deviceID>urn:y</dm:deviceID></dm:device>')
    found = composed(new, old, other).findall(f"{{{DATA_MODEL}}}device")
    assert [element.get("id") for element in found] == ["d.aaaaaa", "e.cccccc"]
    assert told(found[0]) == [("user-input", "idle"), ("battery", "9"), ("deviceID", "urn:x"), ("note", "new")]


def test_cmp_06_what_a_status_says_besides_is_put_together_too() -> None:
    new = phone("bbbbbb", f"<tuple id='t'><status><v:a>1</v:a></status>{on('urn:x')}</tuple>")
    old = phone(
        "aaaaaa", f"<tuple id='t'><status><basic>open</basic><v:a>2</v:a><v:b/></status>{on('urn:x')}</tuple>"
    )
    status = composed(new, old)[0][0]
    assert told(status) == [("basic", "open"), ("a", "1"), ("b", "")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (on("urn:x"), on("urn:y")),
        (on("urn:X"), on("urn:x")),
        (on("urn:x"), on("urn:x", "mailto:alice@example.com")),
        (on("nameless"), on("nameless")),
        (on(""), on("")),
        ("<contact>sip:alice@192.0.2.1</contact>", "<contact>sip:alice@192.0.2.1</contact>"),
    ],
)
def test_cmp_06_others_are_told_apart(one: str, other: str) -> None:
    root = composed(phone("bbbbbb", tuple_of("t", rest=one)), phone("aaaaaa", tuple_of("t", rest=other)))
    assert tuple_ids(root) == ["t.bbbbbb", "t.aaaaaa"]


def test_cmp_06_services_of_one_publication_are_several_and_each_meets_its_like() -> None:
    one = phone("bbbbbb", tuple_of("a", "open", on("urn:x")), tuple_of("b", "closed", on("urn:x")))
    alone = composed(one)
    assert tuple_ids(alone) == ["a.bbbbbb", "b.bbbbbb"]
    other = phone("aaaaaa", *(tuple_of(name, "open", on("urn:x")) for name in "cde"))
    assert tuple_ids(composed(one, other)) == ["c.aaaaaa", "d.aaaaaa", "e.aaaaaa"]
    basics = [element.text for element in composed(one, other).iter(f"{{{PIDF}}}basic")]
    assert basics == ["open", "closed", "open"]


def test_clients_8_cmp_06_the_order_follows_what_is_put_together() -> None:
    gone = phone("bbbbbb", tuple_of("t", "closed", on("urn:x")))
    stale = phone("aaaaaa", tuple_of("t", "open", on("urn:x")))
    desk = phone("cccccc", tuple_of("d", "open"))
    assert tuple_ids(composed(gone, stale, desk)) == ["d.cccccc", "t.aaaaaa"]


@needs_vectors
def test_cmp_10_cmp_11_what_is_put_together_is_valid_whatever_prefixes_there_are() -> None:
    rest = f"{on('urn:x')}<note>n</note><timestamp>2026-01-01T00:00:00Z</timestamp>"
    one = phone("bbbbbb", tuple_of("t", "closed", on("urn:x")))
    prefixed = (
        f'<p:presence xmlns:p="{PIDF}" xmlns:v="{DATA_MODEL}" xmlns:dm="{RPID}" entity="x"><p:tuple id="t">'
        "<p:status/><dm:class>c</dm:class><dm:mood><dm:happy/></dm:mood><v:deviceID>urn:x</v:deviceID>"
        "<p:contact>sip:a@b</p:contact><p:note>n</p:note></p:tuple></p:presence>"
    )
    other = PublishedDocument(prefixed.encode(), "aaaaaa")
    for documents in ([one, other], [other, one], [phone("cccccc", tuple_of("t", rest=rest)), other, one]):
        written = compose(ALICE, documents)
        assert faults(written) == []
        [element] = ET.fromstring(written).findall(f"{{{PIDF}}}tuple")
        assert element.findtext(f"{{{RPID}}}class") == "c"
        assert element.find(f"{{{RPID}}}mood/{{{RPID}}}happy") is not None
