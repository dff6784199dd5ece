"""What is left of a presence document (RFC 5025 section 3.3)."""

from xml.etree import ElementTree as ET

import pytest

from tests.unit.documents.pidf_reading import document, meaning, published, tuple_of
from tests.unit.documents.schemas import faults
from tests.unit.rules.documents import ALICE, ALL_COMPONENTS, asked, decided, read, rule
from tests.vectors import FOLDER, needs_vectors
from vedette.documents.pidf import compose, neutral
from vedette.documents.xml_reader import DocumentError
from vedette.rules.decision import Handling, decide
from vedette.rules.document import RuleSet, read_rules
from vedette.rules.permissions import EVERYTHING, NOTHING, Sight
from vedette.rules.transform import Seen, polite_block, see

URN = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"

ELEMENTS = {
    "activities": "<rpid:activities><rpid:note>secret</rpid:note><rpid:away/></rpid:activities>",
    "class": "<rpid:class>biz</rpid:class>",
    "mood": "<rpid:mood><rpid:note>secret</rpid:note><rpid:happy/></rpid:mood>",
    "place-is": "<rpid:place-is><rpid:audio><rpid:noisy/></rpid:audio></rpid:place-is>",
    "place-type": "<rpid:place-type><rpid:other>attic</rpid:other></rpid:place-type>",
    "privacy": "<rpid:privacy><rpid:audio/></rpid:privacy>",
    "relationship": "<rpid:relationship><rpid:self/></rpid:relationship>",
    "sphere": "<rpid:sphere><rpid:work/></rpid:sphere>",
    "status-icon": "<rpid:status-icon>http://example.com/icon.png</rpid:status-icon>",
    "time-offset": "<rpid:time-offset>120</rpid:time-offset>",
}
USER_INPUT = '<rpid:user-input idle-threshold="600" last-input="2026-06-01T12:00:00Z" id="u">idle</rpid:user-input>'
VENDOR = '<v:x xmlns:v="urn:v">secret</v:x><v:y xmlns:v="urn:v"/>'
CONTACT = "<contact priority='0.5'>sip:alice@192.0.2.4</contact>"
TIME = "<timestamp>2026-06-01T12:00:00Z</timestamp>"
EXTRA = "".join(ELEMENTS.values()) + USER_INPUT + VENDOR

WHOLE = compose(
    ALICE,
    [
        published(
            f'<tuple id="t"><status><basic>open</basic></status>{EXTRA}<rpid:service-class><rpid:electronic/>'
            f"</rpid:service-class><dm:deviceID>{URN}</dm:deviceID>{CONTACT}<note>secret</note>{TIME}</tuple>"
            f'<dm:person id="p">{EXTRA}<dm:note>secret</dm:note><dm:timestamp>2026-06-01T12:00:00Z</dm:timestamp>'
            f'</dm:person><dm:device id="d">{EXTRA}<dm:deviceID>{URN}</dm:deviceID><dm:note>secret</dm:note>'
            f"<dm:timestamp>2026-06-01T12:00:00Z</dm:timestamp></dm:device>"
        )
    ],
)
"""Every element in every component."""


def sight_of(shows: str) -> Sight:
    """What a rule with these transformations shows."""
    return decided(read(rule("r", None, "allow", shows))).sight


def seen(shows: str, whole: bytes = WHOLE) -> bytes:
    """What is left with these transformations, once and twice, and valid where the whole is."""
    sight = sight_of(shows)
    found = see(whole, sight)
    hides_what_selects = "<pr:class>" in shows and not {"class"} & sight.attributes and not sight.all_attributes
    assert hides_what_selects or see(found.document, sight) == Seen(found.document, ())
    assert not faults(found.document) or faults(whole)
    return found.document


def names(left: bytes) -> dict[str, list[str]]:
    """By component the local names of its children."""
    return {
        child.tag.partition("}")[2]: sorted(grandchild.tag.partition("}")[2] for grandchild in child)
        for child in ET.fromstring(left)
    }


ALWAYS = {
    "tuple": ["contact", "service-class", "status", "timestamp"],
    "person": ["timestamp"],
    "device": ["deviceID", "timestamp"],
}


def with_all(*more: str) -> dict[str, list[str]]:
    return {component: sorted([*always, *more]) for component, always in ALWAYS.items()}


def test_pol_17_without_permission_no_component_is_shown() -> None:
    empty = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"/>'
    every = "<pr:provide-all-attributes/><pr:provide-note>true</pr:provide-note>"
    for shows in (
        "",
        every,
        "<pr:provide-services/>" + every,
        "<pr:provide-persons><pr:all-devices/></pr:provide-persons>",
    ):
        assert meaning(seen(shows).decode().partition("\n")[2]) == meaning(empty.decode())
    for kind, component in (("services", "tuple"), ("persons", "person"), ("devices", "device")):
        shows = f"<pr:provide-{kind}><pr:all-{kind}/></pr:provide-{kind}>"
        assert names(seen(shows)) == {component: sorted(ALWAYS[component])}


THREE = document(
    tuple_of("a", rest="<rpid:class>biz</rpid:class><contact>sip:a@h;x=1</contact>")
    + tuple_of("b", rest="<rpid:class>Biz</rpid:class><contact>SIPS:b@h</contact>")
    + tuple_of("c", rest="<contact>mailto:c@h</contact>")
    + f'<dm:person id="d"><rpid:class>biz</rpid:class></dm:person><dm:person id="e"/>'
    f'<dm:device id="f"><rpid:class>biz</rpid:class><dm:deviceID>{URN}</dm:deviceID></dm:device>'
    f'<dm:device id="g"><dm:deviceID>mac:8asd7d7d70</dm:deviceID></dm:device>'
)


@pytest.mark.parametrize(
    ("kind", "selectors", "ids"),
    [
        ("services", "<pr:all-services/>", "abc"),
        ("services", "<pr:class>biz</pr:class>", "a"),
        ("services", "<pr:class>\n Biz </pr:class>", "b"),
        ("services", "<pr:class>biz</pr:class><pr:occurrence-id>c</pr:occurrence-id>", "ac"),
        ("services", "<pr:occurrence-id>B</pr:occurrence-id>", ""),
        ("services", "<pr:service-uri>sip:%61@H;y=2</pr:service-uri>", "a"),
        ("services", "<pr:service-uri>sip:a@h;transport=tcp</pr:service-uri>", ""),
        ("services", "<pr:service-uri>sip:a@h:5060</pr:service-uri>", ""),
        ("services", "<pr:service-uri>sip:b@h</pr:service-uri>", ""),
        ("services", "<pr:service-uri>sips:b@h</pr:service-uri>", "b"),
        ("services", "<pr:service-uri>mailto:c@H</pr:service-uri>", "c"),
        ("services", "<pr:service-uri-scheme>sip</pr:service-uri-scheme>", "a"),
        ("services", "<pr:service-uri-scheme>SIPS</pr:service-uri-scheme>", "b"),
        ("services", "<pr:service-uri-scheme>mail</pr:service-uri-scheme>", ""),
        ("services", f"<pr:deviceID>{URN}</pr:deviceID>", ""),
        ("services", "<v:all xmlns:v='urn:v'/>", ""),
        ("services", "true", ""),
        ("persons", "<pr:all-persons/>", "de"),
        ("persons", "<pr:class>biz</pr:class>", "d"),
        ("persons", "<pr:occurrence-id>e</pr:occurrence-id>", "e"),
        ("persons", "<pr:service-uri-scheme>sip</pr:service-uri-scheme>", ""),
        ("devices", "<pr:all-devices/>", "fg"),
        ("devices", "<pr:class>biz</pr:class>", "f"),
        ("devices", f"<pr:deviceID>{URN.upper()}</pr:deviceID>", "f"),
        ("devices", "<pr:deviceID>mac:8asd7d7d70</pr:deviceID>", "g"),
        ("devices", "<pr:deviceID>mac:8ASD7D7D70</pr:deviceID>", ""),
        ("devices", "<pr:occurrence-id>g</pr:occurrence-id>", "g"),
    ],
)
def test_pol_18_components_are_selected(kind: str, selectors: str, ids: str) -> None:
    left = seen(f"<pr:provide-{kind}>{selectors}</pr:provide-{kind}>", THREE)
    assert "".join(child.attrib["id"] for child in ET.fromstring(left)) == ids


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [("t1", ["t1.aaaaaa", "t1.bbbbbb"]), ("t1.aaaaaa", ["t1.aaaaaa"]), ("t", []), ("1", ["t1.bbbbbb.2"]), ("t2", [])],
)
def test_pol_18_occurrences_have_the_id_that_was_published_or_the_one_that_is_sent(
    wanted: str, shown: list[str]
) -> None:
    whole = compose(
        ALICE,
        [
            published(tuple_of("t1")),
            published(tuple_of("t1") + tuple_of("1") + tuple_of("t2.x"), scope="bbbbbb"),
        ],
    )
    left = seen(f"<pr:provide-services><pr:occurrence-id>{wanted}</pr:occurrence-id></pr:provide-services>", whole)
    found = [child.attrib["id"] for child in ET.fromstring(left)]
    assert set(shown) <= set(found)
    assert all(name.startswith(("t1.aaaaaa", "t1.bbbbbb")) for name in found)


def test_pol_19_these_elements_are_always_shown() -> None:
    left = seen(ALL_COMPONENTS)
    assert names(left) == ALWAYS
    assert b"secret" not in left
    first = ET.fromstring(left)[0]
    assert [child.text for child in first if child.tag.endswith("contact")] == ["sip:alice@192.0.2.4"]
    assert [child.attrib for child in first if child.tag.endswith("contact")] == [{"priority": "0.5"}]


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("value", ["true", "1", "false", None])
def test_pol_20_an_element_is_shown_where_its_permission_is_true(name: str, value: str | None) -> None:
    shows = "" if value is None else f"<pr:provide-{name}>{value}</pr:provide-{name}>"
    assert names(seen(ALL_COMPONENTS + shows)) == with_all(*([name] if value in {"true", "1"} else []))


@pytest.mark.parametrize(("value", "shown"), [("true", True), ("false", False)])
def test_pol_20_device_ids_of_tuples_have_a_permission_and_those_of_devices_need_none(
    value: str, *, shown: bool
) -> None:
    left = names(seen(ALL_COMPONENTS + f"<pr:provide-deviceID>{value}</pr:provide-deviceID>"))
    assert ("deviceID" in left["tuple"]) is shown
    assert "deviceID" in left["device"]


@pytest.mark.parametrize(
    ("level", "attributes"),
    [
        ("false", None),
        ("bare", ["id"]),
        ("thresholds", ["id", "idle-threshold"]),
        ("full", ["id", "idle-threshold", "last-input"]),
    ],
)
def test_pol_21_user_input_has_four_levels(level: str, attributes: list[str] | None) -> None:
    left = seen(ALL_COMPONENTS + f"<pr:provide-user-input>{level}</pr:provide-user-input>")
    found = [element for element in ET.fromstring(left).iter() if element.tag.endswith("}user-input")]
    assert [(sorted(element.attrib), element.text) for element in found] == (
        [] if attributes is None else [(attributes, "idle")] * 3
    )


def test_pol_22_notes_of_components_have_a_permission_and_those_inside_follow_their_element() -> None:
    left = seen(ALL_COMPONENTS + "<pr:provide-note>true</pr:provide-note>")
    assert names(left) == with_all("note")
    left = seen(ALL_COMPONENTS + "<pr:provide-mood>true</pr:provide-mood>")
    assert names(left) == with_all("mood")
    assert left.count(b"secret") == 3


@pytest.mark.parametrize(
    ("shows", "shown"),
    [
        ("<pr:provide-note>true</pr:provide-note>", ["tuple", "note"]),
        ("<pr:provide-all-attributes/>", ["tuple", "note"]),
        ("<pr:provide-mood>true</pr:provide-mood>", ["tuple"]),
    ],
)
def test_a_note_of_the_document_needs_all_services_or_all_persons(shows: str, shown: list[str]) -> None:
    whole = compose(ALICE, [published(tuple_of("t", rest="<rpid:class>biz</rpid:class>") + "<note>n</note>")])
    every = "<pr:provide-services><pr:all-services/></pr:provide-services>"
    some = "<pr:provide-services><pr:class>biz</pr:class></pr:provide-services>"
    assert list(names(seen(every + shows, whole))) == shown
    assert list(names(seen(some + shows, whole))) == ["tuple"]


@pytest.mark.parametrize(
    ("uri", "name", "value", "shown"),
    [
        ("urn:v", "x", "true", ["x"]),
        ("urn:v", "x", "false", []),
        ("urn:v", "X", "true", []),
        ("urn:w", "x", "true", []),
        ("urn:ietf:params:xml:ns:pidf:rpid", "mood", "true", []),
        ("urn:ietf:params:xml:ns:pidf:rpid", "user-input", "true", []),
        ("urn:ietf:params:xml:ns:pidf:data-model", "note", "true", []),
        ("urn:ietf:params:xml:ns:pidf", "note", "true", []),
    ],
)
def test_pol_23_unknown_attributes_are_named_and_elements_of_rpid_are_none(
    uri: str, name: str, value: str, shown: list[str]
) -> None:
    shows = f'<pr:provide-unknown-attribute ns="{uri}" name="{name}">{value}</pr:provide-unknown-attribute>'
    assert names(seen(ALL_COMPONENTS + shows)) == with_all(*shown)


def test_pol_24_all_attributes_are_all_that_is_in_components_that_are_shown() -> None:
    shows = "<pr:provide-persons><pr:all-persons/></pr:provide-persons><pr:provide-all-attributes/>"
    left = seen(shows)
    assert names(left) == {"person": names(WHOLE)["person"]}
    assert see(WHOLE, sight_of(ALL_COMPONENTS + "<pr:provide-all-attributes/>")) == Seen(WHOLE, ())


EVERY_PERMISSION = (
    ALL_COMPONENTS
    + "".join(f"<pr:provide-{name}>true</pr:provide-{name}>" for name in (*ELEMENTS, "deviceID", "note"))
    + "<pr:provide-user-input>full</pr:provide-user-input>"
    + "".join(
        f'<pr:provide-unknown-attribute ns="urn:v" name="{name}">true</pr:provide-unknown-attribute>' for name in "xy"
    )
)


def test_pol_26_all_permissions_together_leave_everything() -> None:
    assert read_rules_remarks(EVERY_PERMISSION) == []
    assert meaning(seen(EVERY_PERMISSION).decode().partition("\n")[2]) == meaning(WHOLE.decode().partition("\n")[2])


def read_rules_remarks(shows: str) -> list[str]:
    return [str(remark) for remark in read(rule("r", None, "allow", shows)).remarks]


OMA = 'xmlns:o="urn:oma:xml:prs:pidf:oma-pres"'


@pytest.mark.parametrize(
    ("permission", "elements"),
    [
        ("willingness", ["overriding-willingness", "willingness"]),
        ("network-availability", ["network-availability"]),
        ("session-participation", ["session-participation"]),
        ("registration-state", ["registration-state"]),
        ("barring-state", ["barring-state"]),
    ],
)
def test_pol_30_permissions_of_oma(permission: str, elements: list[str]) -> None:
    every = ("willingness", "overriding-willingness", "network-availability", "session-participation")
    content = "".join(f"<o:{name} {OMA}/>" for name in (*every, "registration-state", "barring-state"))
    whole = document(tuple_of("t", rest=content))
    left = seen(ALL_COMPONENTS + f"<op:provide-{permission}>true</op:provide-{permission}>", whole)
    assert names(left) == {"tuple": sorted(["status", *elements])}


def test_pol_30_services_are_selected_by_the_id_of_oma() -> None:
    def service(name: str) -> str:
        described = f"<o:service-description {OMA}><o:service-id>{name}</o:service-id></o:service-description>"
        return tuple_of(name, rest=described)

    whole = document(service("poc") + service("im"))
    left = seen("<pr:provide-services><op:service-id>poc</op:service-id></pr:provide-services>", whole)
    assert [child.attrib["id"] for child in ET.fromstring(left)] == ["poc"]
    assert names(left)["tuple"] == ["service-description", "status"]


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("<basic>open</basic><v:x xmlns:v='urn:v'/>", True),
        ("<v:x xmlns:v='urn:v'/>", False),
        ("<rpid:activities><rpid:away/></rpid:activities>", False),
        ("", True),
    ],
)
def test_pol_31_a_tuple_whose_status_is_emptied_is_left_out(status: str, *, shown: bool) -> None:
    whole = document(f'<tuple id="t"><status>{status}</status></tuple>')
    left = seen(ALL_COMPONENTS, whole)
    assert faults(left) == []
    assert ("tuple" in names(left)) is shown


def test_what_the_schemas_do_not_have_in_a_component_is_not_shown() -> None:
    whole = document(
        "<tuple id='t' v:a='secret' xmlns:v='urn:v'>secret<!--secret--><status v:a='secret'>secret"
        "<basic v:a='secret'>open<v:x>secret</v:x></basic>secret</status>secret<?secret secret?>"
        "<contact>sip:a@b<!--secret--></contact>secret</tuple>secret<v:x xmlns:v='urn:v'>secret</v:x><!--secret-->"
    )
    left = seen(ALL_COMPONENTS, whole)
    assert b"secret" not in left
    assert b"urn:v" not in left
    assert faults(left) == []


def test_what_was_taken_out_is_told() -> None:
    persons = "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
    shows = persons + "<pr:provide-user-input>bare</pr:provide-user-input>"
    whole = compose(
        ALICE,
        [
            published(
                f"{tuple_of('t')}<dm:person id='p'>{ELEMENTS['mood']}{USER_INPUT}{VENDOR}</dm:person><note>n</note>"
            )
        ],
    )
    assert see(whole, sight_of(shows)).removed == (
        "tuple t.aaaaaa",
        "note",
        "person p.aaaaaa: mood",
        "person p.aaaaaa: user-input idle-threshold",
        "person p.aaaaaa: user-input last-input",
        "person p.aaaaaa: {urn:v}x",
        "person p.aaaaaa: {urn:v}y",
    )


def test_the_prefixes_that_phones_look_for_stay() -> None:
    left = seen("", WHOLE)
    assert b"xmlns:dm=" in left
    assert b"xmlns:rpid=" in left


def test_a_politely_blocked_watcher_sees_what_is_sent_of_somebody_who_publishes_nothing() -> None:
    blocked = polite_block(ALICE)
    assert blocked == neutral(ALICE) == compose(ALICE, [])
    assert names(blocked) == {"tuple": ["status"]}
    assert faults(blocked) == []


@pytest.mark.parametrize("body", [b"", b"<presence", b"<presence/>", b"<a xmlns='urn:b'/>"])
def test_what_is_no_presence_document_is_not_shown(body: bytes) -> None:
    with pytest.raises(DocumentError):
        see(body, NOTHING)


GOLDEN = FOLDER / "golden" / "pres-rules"


@needs_vectors
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*-rule.xml")), ids=lambda path: path.stem)
def test_pol_17_18_19_20_24_other_peoples_rules_leave_what_they_expect(path: object) -> None:
    name = str(path).rpartition("/")[2].removesuffix("-rule.xml")
    rules = read_rules((GOLDEN / f"{name}-rule.xml").read_bytes())
    assert isinstance(rules, RuleSet)
    sight = decide(rules, asked("sip:subscriber@example.com"), Handling.BLOCK).sight
    left = see((GOLDEN / "original-doc.xml").read_bytes(), sight).document
    expected = (GOLDEN / f"{name}-filtered-doc.xml").read_text()
    assert meaning(left.decode().partition("\n")[2]) == meaning(expected.partition("\n")[2])


def test_everything_is_the_document_itself() -> None:
    assert see(WHOLE, EVERYTHING) == Seen(WHOLE, ())
