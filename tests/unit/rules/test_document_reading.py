"""Which rules documents are refused, where and why; what is passed over is remarked (issue 6 items 6 and 8)."""

import tracemalloc

import pytest
from lxml import etree

from tests.unit.rules.documents import BOB, identity, one, read, rule, ruleset
from tests.vectors import FOLDER, Vector, needs_vectors, vectors
from vedette.rules import document
from vedette.rules.document import (
    COMMON_POLICY,
    MAX_GRANTS,
    MAX_IDENTITIES,
    MAX_OCTETS,
    MAX_PERIODS,
    MAX_REMARKS,
    MAX_RULES,
    RuleSet,
    Unreadable,
    read_rules,
)

FINE = rule("fine", one(BOB), "allow")
PERIOD = "<from>2026-06-01T12:00:00Z</from><until>2026-06-01T13:00:00Z</until>"


def refused(octets: bytes) -> Unreadable:
    found = read_rules(octets)
    assert isinstance(found, Unreadable)
    return found


@pytest.mark.parametrize(
    ("second_rule", "element", "reason"),
    [
        ("<rule/>", "rule", "a rule needs an id"),
        ('<rule id=" "/>', "rule", "a rule needs an id"),
        (FINE, "rule", "the id fine is that of an earlier rule, too"),
        ("<rules id='a'/>", "rules", "only rule stands here"),
        ("<pr:rule id='a'/>", "rule", "only rule stands here"),
        (
            "<rule id='a'><condition/></rule>",
            "condition",
            f"only conditions, actions and transformations of {COMMON_POLICY} stand in a rule",
        ),
        (
            "<rule id='a'><pr:conditions/></rule>",
            "conditions",
            f"only conditions, actions and transformations of {COMMON_POLICY} stand in a rule",
        ),
        (
            "<rule id='a'><x:conditions xmlns:x='urn:x'/></rule>",
            "{urn:x}conditions",
            f"only conditions, actions and transformations of {COMMON_POLICY} stand in a rule",
        ),
        ("<rule id='a'><conditions/><conditions/></rule>", "conditions", "stands twice in a rule"),
        (rule("a", identity("<one/>")), "one", "one needs an id"),
        (rule("a", identity("<many><except/></many>")), "except", "except needs an id or a domain"),
        (
            rule("a", identity('<many><except id="bob"/></many>')),
            "except",
            "bob is not a URI like sip:bob@example.com",
        ),
        (rule("a", "<sphere/>"), "sphere", "sphere needs a value"),
        (rule("a", "<validity/>"), "validity", "validity has pairs of from and until, and nothing else"),
        (
            rule("a", "<validity><from>2026-06-01T12:00:00Z</from></validity>"),
            "validity",
            "validity has pairs of from and until, and nothing else",
        ),
        (
            rule("a", f"<validity>{PERIOD}<x/></validity>"),
            "validity",
            "validity has pairs of from and until, and nothing else",
        ),
        (
            rule("a", f"<validity>{PERIOD.replace('2026-06-01T12:00:00Z', 'noon')}</validity>"),
            "from",
            "noon is not a time like 2026-12-24T17:00:00+01:00",
        ),
        (
            rule("a", f"<validity>{PERIOD.replace('06-01T13', '02-30T13')}</validity>"),
            "until",
            "there is no time 2026-02-30T13:00:00Z",
        ),
        (
            rule("a", None, "permit"),
            "sub-handling",
            "'permit' is not one of block, confirm, polite-block, allow",
        ),
        (
            rule("a", None, "block</pr:sub-handling><pr:sub-handling>allow"),
            "sub-handling",
            "the rule says something else before",
        ),
        (
            rule("a", None, None, "<pr:provide-mood>yes</pr:provide-mood>"),
            "provide-mood",
            "yes is neither true nor false",
        ),
        (
            rule("a", None, None, "<pr:provide-user-input>true</pr:provide-user-input>"),
            "provide-user-input",
            "true is not one of false, bare, thresholds, full",
        ),
        (
            rule("a", None, None, "<pr:provide-unknown-attribute name='x'>true</pr:provide-unknown-attribute>"),
            "provide-unknown-attribute",
            "provide-unknown-attribute needs ns and name",
        ),
        (
            rule("a", None, None, "<op:provide-geopriv>true</op:provide-geopriv>"),
            "provide-geopriv",
            "true is not one of false, full",
        ),
        (
            rule("a", "<ocp:external-list><ocp:entry/></ocp:external-list>"),
            "entry",
            "external-list has entries with anc, and nothing else",
        ),
        (rule("a", one("sip:" + "x" * 1025)), "one", "id has more than 1024 characters"),
        (rule("a", None, "x" * 1025), "sub-handling", "more than 1024 characters"),
    ],
)
def test_a_fault_in_what_is_known_makes_a_document_unreadable_and_its_place_is_told(
    second_rule: str, element: str, reason: str
) -> None:
    found = refused(ruleset(FINE, second_rule))
    assert found == Unreadable(reason, 4, element)
    assert str(found) == f"line 4: <{element}>: {reason}"


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"", "not well-formed XML"),
        (b"<ruleset>\n<rule>\n</ruleset>", "line 3: not well-formed XML"),
        (b"<ruleset/>", "line 1: <ruleset>: the root element is not ruleset of " + COMMON_POLICY),
        (b"<presence xmlns='urn:x'/>", "line 1: <{urn:x}presence>: the root element is not ruleset"),
        ("<ruleset/>".encode("utf-16"), "the root element is not ruleset"),
        (b'<?xml version="1.0" encoding="utf-16"?><ruleset/>', "not well-formed XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><ruleset/>', "not "),
        (b"<a:ruleset/>", "not well-formed XML"),
        (b"\xff\xfe\xfd", "not well-formed XML"),
    ],
)
def test_what_is_no_rules_document_is_refused(octets: bytes, told: str) -> None:
    assert told in str(refused(octets))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("<v:x xmlns:v='urn:v'/>", "line 4: <{urn:v}x>: not known, ignored"),
        (
            rule("a", "<v:x xmlns:v='urn:v'/>"),
            "line 4: <{urn:v}x>: this condition is not known: the rule never matches",
        ),
        (
            rule("a", one("bob")),
            "line 4: <one>: bob is not a URI like sip:bob@example.com: it names nobody",
        ),
        (rule("a", identity("<id>sip:b@c</id>")), "line 4: <id>: not known in identity: it names nobody"),
        (
            rule("a", f"<validity>{PERIOD.replace('01T13', '01T11')}</validity>"),
            "line 4: <from>: until is not after from: this period never is",
        ),
        (
            rule("a", f"<validity>{PERIOD.replace('13:00:00Z', '13:00:00')}</validity>"),
            "line 4: <until>: has no time zone: taken as UTC",
        ),
        (
            "<rule id='a'><actions><v:x xmlns:v='urn:v'/></actions></rule>",
            "line 4: <{urn:v}x>: this action is not known, ignored",
        ),
        (
            rule("a", None, None, "<pr:provide-everything/>"),
            "line 4: <provide-everything>: this transformation is not known, it shows nothing",
        ),
        (
            rule("a", None, None, "<pr:provide-persons><pr:service-uri>a:b</pr:service-uri></pr:provide-persons>"),
            "line 4: <service-uri>: not known here, it selects nothing",
        ),
        (
            rule("a", None, None, "<pr:provide-services>true</pr:provide-services>"),
            "line 4: <provide-services>: text selects nothing; write all-services to show all of them",
        ),
    ],
)
def test_what_is_passed_over_is_remarked(written: str, told: str) -> None:
    assert [str(remark) for remark in read(FINE, written).remarks] == [told]


def test_remarks_are_limited() -> None:
    many = identity(*("<x/>" for _ in range(2 * MAX_REMARKS)))
    assert len(read(rule("a", many)).remarks) == MAX_REMARKS


def test_rules_keep_their_order_and_lines() -> None:
    found = read(rule("b"), rule("a"), "<!-- c -->", rule("c"))
    assert [(each.id, each.line) for each in found.rules] == [("b", 3), ("a", 4), ("c", 6)]


def test_lines_are_those_of_the_file_where_it_begins_with_some_that_are_empty() -> None:
    found = read_rules(b"\n\r\n " + ruleset(rule("a", one("bob"))))
    assert isinstance(found, RuleSet)
    assert [found.rules[0].line, found.remarks[0].line] == [5, 5]
    assert refused(b"\n\n" + ruleset("<rule/>")).line == 5
    assert refused(b"\n\n<a>\n</b>").line == 4
    assert refused(b"\n\n<a/>").line == 3


def _ones(count: int) -> str:
    return identity(*('<one id="a:b"/>' for _ in range(count)))


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (
            b'<!DOCTYPE a [<!ENTITY b "bbbbb"><!ENTITY c "&b;&b;&b;&b;">]><ruleset>&c;</ruleset>',
            "document type declarations are not accepted",
        ),
        (
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ruleset>&x;</ruleset>',
            "document type declarations are not accepted",
        ),
        (b"<!DOCTYPE a SYSTEM 'http://127.0.0.1:1/a.dtd'><ruleset/>", "document type declarations are not accepted"),
        (b"<a>" * 100 + b"</a>" * 100, "nested deeper than 64 elements"),
        (ruleset(rule("a", "<x>" * 70 + "</x>" * 70)), "nested deeper than 64 elements"),
        (b"<a>" * 60_000, "not well-formed XML"),
        (b"<a " + b" ".join(b"b%d=''" % number for number in range(20_000)) + b"/>", "the root element is not"),
        (b"<a>" + b"<b/>" * 30_000 + b"</a>", "more than 20000 elements"),
        (
            b"<a " + b" ".join(b"xmlns:n%d='urn:%d'" % (n, n) for n in range(300)) + b"/>",
            "more than 200 namespaces",
        ),
        (b" " * (MAX_OCTETS + 1), f"the document has more than {MAX_OCTETS} octets"),
        (ruleset(*(rule(f"r{number}") for number in range(MAX_RULES + 1))), f"more than {MAX_RULES} rules"),
        (ruleset(rule("a", _ones(MAX_IDENTITIES + 1))), f"more than {MAX_IDENTITIES} identities"),
        (
            ruleset(rule("a", f"<validity>{PERIOD * (MAX_PERIODS + 1)}</validity>")),
            f"more than {MAX_PERIODS} periods of validity",
        ),
        (
            ruleset(
                rule(
                    "a",
                    None,
                    None,
                    f"<pr:provide-persons>{'<pr:class>a</pr:class>' * (MAX_GRANTS + 1)}</pr:provide-persons>",
                )
            ),
            f"more than {MAX_GRANTS} selectors and unknown attributes",
        ),
    ],
)
def test_documents_that_attack_are_refused_with_a_reason_and_without_much_memory(attack: bytes, reason: str) -> None:
    tracemalloc.start()
    try:
        found = refused(attack)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reason in str(found)
    assert len(str(found)) < 300
    assert peak < 16 * MAX_OCTETS


def test_reading_stops_where_a_limit_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def counted(uri: str) -> str:
        looked_at.append(uri)
        return uri

    monkeypatch.setattr(document, "identity_of", counted)
    half = MAX_IDENTITIES // 2 + 1
    octets = ruleset(rule("a", _ones(half)), rule("b", _ones(half)))
    assert "identities" in refused(octets).reason
    assert len(looked_at) == MAX_IDENTITIES


def test_a_document_at_all_limits_is_read_looking_at_each_element_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []
    attribute = document._attribute

    def counted(element: etree._Element, name: str) -> str | None:
        looked_at.append(element)
        return attribute(element, name)

    monkeypatch.setattr(document, "_attribute", counted)
    rules = [rule(f"r{number}", _ones(8)) for number in range(MAX_RULES)]
    assert isinstance(read_rules(ruleset(*rules)), RuleSet)
    assert len(looked_at) == MAX_RULES * 9


@needs_vectors
@pytest.mark.parametrize("vector", vectors("body/pres-rules"), ids=str)
def test_rules_that_other_people_wrote_are_read(vector: Vector) -> None:
    found = read_rules(vector.data)
    assert isinstance(found, RuleSet), found
    assert found.rules


@needs_vectors
@pytest.mark.parametrize("name", ["xxe-resource-lists.xml", "blind-xxe-resource-lists.xml"])
def test_external_entities_of_other_people_are_refused(name: str) -> None:
    assert refused((FOLDER / "security" / name).read_bytes()).reason == "document type declarations are not accepted"
