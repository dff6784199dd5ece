"""When a rule matches (RFC 4745 sections 7 and 10.1, RFC 5025 section 3.1, OMA XDM)."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from tests.unit.rules.documents import ALICE, BOB, NOON, asked, decided, identity, matches, one, read, rule
from vedette.rules.conditions import Asked, Identity, Situation
from vedette.rules.decision import Handling, decide
from vedette.rules.document import RuleSet, read_rules

HOLDS = one(BOB)
FAILS = one("sip:carol@example.com")
AT_WORK = '<sphere value="work"/>'
NOW = "<validity><from>2026-06-01T00:00:00Z</from><until>2026-06-02T00:00:00Z</until></validity>"
PAST = "<validity><from>2025-06-01T00:00:00Z</from><until>2025-06-02T00:00:00Z</until></validity>"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, True),
        ("", True),
        (HOLDS, True),
        (FAILS, False),
        *(
            (first + second + third, (first, second, third) == (HOLDS, AT_WORK, NOW))
            for first, second, third in product((HOLDS, FAILS), (AT_WORK, '<sphere value="home"/>'), (NOW, PAST))
        ),
        (HOLDS + FAILS, False),
    ],
)
def test_pol_01_a_rule_matches_where_all_its_conditions_hold(*, conditions: str | None, expected: bool) -> None:
    assert matches(conditions, sphere="work") is expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("<v:weather xmlns:v='urn:v'>fair</v:weather>", False),
        (HOLDS + "<v:weather xmlns:v='urn:v'/>", False),
        ("<pr:sub-handling>allow</pr:sub-handling>", False),
        ("<identities><one id='sip:bob@example.com'/></identities>", False),
        (identity("<v:somebody xmlns:v='urn:v'/>"), False),
        (identity("<id>sip:bob@example.com</id>"), False),
        (identity("<domain domain='example.com'/>"), False),
        (identity("<v:somebody xmlns:v='urn:v'/>", f'<one id="{BOB}"/>'), True),
        (identity(f'<one id="{BOB}"><v:on-mondays xmlns:v="urn:v"/></one>'), False),
        (identity('<many><v:except xmlns:v="urn:v" id="sip:carol@example.com"/></many>'), False),
    ],
)
def test_pol_02_what_is_not_known_in_conditions_does_not_hold(*, conditions: str, expected: bool) -> None:
    assert matches(conditions) is expected
    found = read(rule("r", conditions, "allow"))
    assert [remark.line for remark in found.remarks] == [3]


def _many(*exceptions: str, domain: str | None = None) -> str:
    where = "" if domain is None else f' domain="{domain}"'
    return f"<many{where}>{''.join(f'<except {exception}/>' for exception in exceptions)}</many>"


@pytest.mark.parametrize(
    ("children", "bob", "carol", "dora_elsewhere"),
    [
        ([f'<one id="{BOB}"/>'], True, False, False),
        ([f'<one id="{BOB}"/>', '<one id="sip:dora@example.net"/>'], True, False, True),
        ([_many()], True, True, True),
        ([_many(domain="example.com")], True, True, False),
        ([_many(domain="example.net")], False, False, True),
        ([_many(domain="xample.com")], False, False, False),
        ([_many(domain="sample.com")], False, False, False),
        ([_many(f'id="{BOB}"')], False, True, True),
        ([_many('domain="example.com"')], False, False, True),
        ([_many('domain="example.com"', 'id="sip:dora@example.net"')], False, False, False),
        ([_many(f'id="{BOB}"', domain="example.com")], False, True, False),
        ([_many(f'id="{BOB}" domain="example.net"')], False, True, False),
        ([_many(f'id="{BOB}"'), f'<one id="{BOB}"/>'], True, True, True),
        ([_many(f'id="{BOB}"'), _many('id="sip:carol@example.com"')], True, True, True),
    ],
)
def test_pol_03_identity_is_any_of_one_and_many_but_the_exceptions(
    *, children: list[str], bob: bool, carol: bool, dora_elsewhere: bool
) -> None:
    watchers = (BOB, "sip:carol@example.com", "sip:dora@example.net")
    assert [matches(identity(*children), watcher) for watcher in watchers] == [bob, carol, dora_elsewhere]


@pytest.mark.parametrize(
    ("conditions", "anonymous", "authenticated"),
    [
        (None, True, True),
        ("", True, True),
        ("<identity/>", True, False),
        (identity("<many/>"), False, True),
        (identity(f'<one id="{BOB}"/>'), False, True),
        (identity("<one id='sip:anonymous@anonymous.invalid'/>"), False, False),
        (identity("<v:nobody xmlns:v='urn:v'/>"), False, False),
        ('<sphere value="work"/>', True, True),
    ],
)
def test_pol_04_who_is_not_authenticated_matches_only_without_or_with_an_empty_identity(
    *, conditions: str | None, anonymous: bool, authenticated: bool
) -> None:
    assert matches(conditions, None, sphere="work") is anonymous
    assert matches(conditions, BOB, sphere="work") is authenticated


@pytest.mark.parametrize(
    ("written", "watcher", "expected"),
    [
        ("sip:bob@example.com", "sip:bob@EXAMPLE.com", True),
        ("sip:%62ob@example.com", "sip:bob@example.com", True),
        ("sip:Bob@example.com", "sip:bob@example.com", False),
        ("sip:bob@example.com;transport=tcp", "sip:bob@example.com", True),
        ("sips:bob@example.com", "sip:bob@example.com", True),
        ("pres:bob@example.com", "sip:bob@example.com", True),
        ("sip:+15551234@example.com;user=phone", "tel:+15551234", False),
        ("tel:+15551234", "sip:+15551234@example.com", False),
        ("tel:+1-555-1234", "tel:+1(555)12.34", True),
        ("TEL:+15551234", "tel:+15551234", True),
        ("tel:1234;phone-context=example.com", "tel:1234;phone-context=EXAMPLE.com", True),
        ("tel:1234;phone-context=example.com", "tel:1234", False),
        ("mailto:bob@Example.net", "mailto:bob@example.net", True),
        ("mailto:bob@example.com", "sip:bob@example.com", False),
        ("sip:bob@example.com.", "sip:bob@example.com", True),
        ("sip:robert@example.com", "sip:bob@example.com", False),
        ("sip:example.com", "sip:bob@example.com", False),
        ("http://example.com/bob", "http://example.com/bob", True),
        ("bob@example.com", "sip:bob@example.com", False),
        ("sip:", "sip:bob@example.com", False),
    ],
)
def test_pol_05_identities_are_addresses_of_record_and_schemes_of_phones_and_mail_are_others(
    *, written: str, watcher: str, expected: bool
) -> None:
    assert matches(one(written), watcher) is expected


@pytest.mark.parametrize(
    ("domain", "host", "expected"),
    [
        ("EXAMPLE.com", "example.com", True),
        ("ex%61mple.com", "example.com", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("BÜCHER.example", "XN--BCHER-KVA.example", True),
        ("b%C3%BCcher.example", "xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("bucher.example", "xn--bcher-kva.example", False),
        ("com", "example.com", False),
        ("sub.example.com", "example.com", False),
        ("example.com", "sub.example.com", False),
        ("", "example.com", False),
        ("192.0.2.4", "192.0.2.4", True),
    ],
)
def test_pol_06_domains_are_compared_label_by_label_in_ascii(*, domain: str, host: str, expected: bool) -> None:
    assert matches(identity(_many(domain=domain)), f"sip:bob@{host}") is expected
    assert matches(identity(_many(f'domain="{domain}"')), f"sip:bob@{host}") is not expected


@pytest.mark.parametrize(
    ("value", "sphere", "expected"),
    [
        ("work", "work", True),
        ("home WORK", "work", True),
        ("home WORK", "Home", True),
        ("home\twork\n", "work", True),
        ("homework", "work", False),
        ("work", None, False),
        ("", "work", False),
        ("other", "other", True),
    ],
)
def test_pol_15_a_sphere_is_one_of_the_words_whatever_their_case(
    *, value: str, sphere: str | None, expected: bool
) -> None:
    assert matches(f'<sphere value="{value}"/>', sphere=sphere) is expected


def _periods(*pairs: tuple[str, str]) -> str:
    return f"<validity>{''.join(f'<from>{start}</from><until>{end}</until>' for start, end in pairs)}</validity>"


TWO_PERIODS = _periods(
    ("2026-06-01T10:00:00Z", "2026-06-01T12:00:00Z"), ("2026-06-01T15:00:00+02:00", "2026-06-01T16:00:00+02:00")
)


@pytest.mark.parametrize(
    ("now", "expected", "until"),
    [
        ("2026-06-01T09:59:59.999999", False, "2026-06-01T10:00:00"),
        ("2026-06-01T10:00:00", True, "2026-06-01T12:00:00"),
        ("2026-06-01T11:59:59.999999", True, "2026-06-01T12:00:00"),
        ("2026-06-01T12:00:00", False, "2026-06-01T13:00:00"),
        ("2026-06-01T13:00:00", True, "2026-06-01T14:00:00"),
        ("2026-06-01T14:00:00", False, None),
    ],
)
def test_pol_16_a_rule_is_valid_from_until_in_any_of_its_periods(
    *, now: str, expected: bool, until: str | None
) -> None:
    rules = read(rule("r", TWO_PERIODS, "allow"))
    decision = decided(rules, now=datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (decision.matched == ("r",)) is expected
    assert decision.until == (None if until is None else datetime.fromisoformat(until).replace(tzinfo=UTC))


def test_pol_16_a_period_that_changes_nothing_ends_no_decision() -> None:
    day = timedelta(days=1)
    adjoining = [(NOON + day * i, NOON + day * (i + 1)) for i in range(3)]
    periods = _periods(*((start.isoformat(), end.isoformat()) for start, end in adjoining))
    assert decided(read(rule("r", periods, "allow"))).until == NOON + 3 * day
    assert decided(read(rule("r", periods, "allow"), rule("always", None, "allow"))).until is None
    assert decided(read(rule("r", periods, "allow"), rule("less", None, "confirm"))).until == NOON + 3 * day
    assert decided(read(rule("r", periods + FAILS, "allow"))).until is None


def test_pol_16_of_very_many_periods_some_are_tried_and_the_decision_is_looked_at_again_then() -> None:
    minute = timedelta(minutes=1)
    adjoining = [(NOON + minute * i, NOON + minute * (i + 1)) for i in range(1000)]
    periods = _periods(*((start.isoformat(), end.isoformat()) for start, end in adjoining))
    until = decided(read(rule("r", periods, "allow"))).until
    assert until is not None
    assert NOON < until < NOON + 1000 * minute


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-06-01T12:00:00.5Z", "2026-06-01T12:00:00.500000+00:00"),
        ("2026-06-01T12:00:00.123456789Z", "2026-06-01T12:00:00.123456+00:00"),
        ("2026-06-01T12:00:00-14:00", "2026-06-02T02:00:00+00:00"),
        ("\n 2026-06-01T12:00:00 \n", "2026-06-01T12:00:00+00:00"),
        ("9999-12-31T23:59:59-05:00", None),
    ],
)
def test_pol_16_times_are_those_of_xml_schema(written: str, moment: str | None) -> None:
    rules = read(rule("r", _periods(("2000-01-01T00:00:00Z", written)), "allow"))
    decision = decided(rules, now=datetime(2001, 1, 1, tzinfo=UTC))
    assert decision.matched == ("r",)
    assert decision.until is not None
    if moment is not None:
        assert decision.until == datetime.fromisoformat(moment)


ANONYMOUS = "<ocp:anonymous-request/>"
UNLISTED = "<ocp:other-identity/>"
FRIENDS = '<ocp:external-list><ocp:entry anc="https://xcap.example.com/friends"/></ocp:external-list>'
LISTED = frozenset({"https://xcap.example.com/friends"})
OMA_RULES = (
    rule("own", one("sip:carol@example.com"), "allow"),
    rule("anonymous", ANONYMOUS, "polite-block"),
    rule("unlisted", UNLISTED, "confirm"),
)


@pytest.mark.parametrize(
    ("rules", "watcher", "lists", "matched"),
    [
        (OMA_RULES, BOB, None, ("unlisted",)),
        (OMA_RULES, "sip:carol@example.com", None, ("own",)),
        (OMA_RULES, None, None, ("anonymous",)),
        ((*OMA_RULES, rule("friends", FRIENDS, "allow")), BOB, None, ()),
        ((*OMA_RULES, rule("friends", FRIENDS, "allow")), BOB, frozenset(), ("unlisted",)),
        ((*OMA_RULES, rule("friends", FRIENDS, "allow")), BOB, LISTED, ("friends",)),
        ((*OMA_RULES, rule("friends", FRIENDS, "allow")), None, LISTED, ("anonymous",)),
        ((*OMA_RULES, rule("friends", FRIENDS, "block")), "sip:carol@example.com", None, ("own",)),
        ((rule("unlisted", UNLISTED, "allow"),), None, None, ("unlisted",)),
    ],
)
def test_pol_30_conditions_of_oma(
    rules: tuple[str, ...], watcher: str | None, lists: frozenset[str] | None, matched: tuple[str, ...]
) -> None:
    found = read(*rules)
    question = Asked(watcher, ALICE, "presence", None, NOON, lists)
    assert decide(found, question, Handling.BLOCK).matched == matched


def test_pol_30_who_is_named_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Identity.refusal
    looks: list[object] = []

    def counted(condition: Identity, situation: Situation) -> str | None:
        looks.append(condition)
        return refusal(condition, situation)

    monkeypatch.setattr(Identity, "refusal", counted)
    rules = [rule(f"r{number}", UNLISTED + HOLDS, "allow") for number in range(300)]
    assert decided(read(*rules)).matched == ()
    assert len(looks) <= 2 * len(rules)
    assert decided(read(*rules[:1])).matched == ("r0",)


def test_pol_30_the_lists_that_have_to_be_read_are_told() -> None:
    assert read(*OMA_RULES, rule("friends", FRIENDS, "allow")).lists == LISTED


def test_pol_03_prefixes_of_namespaces_mean_nothing() -> None:
    document = (
        b"<x:ruleset xmlns:x='urn:ietf:params:xml:ns:common-policy' xmlns='urn:ietf:params:xml:ns:pres-rules'>"
        b"<x:rule id='r'><x:conditions><x:identity><x:one id='sip:bob@example.com'/></x:identity></x:conditions>"
        b"<x:actions><sub-handling> allow\n</sub-handling></x:actions></x:rule></x:ruleset>"
    )
    found = read_rules(document)
    assert isinstance(found, RuleSet)
    assert decide(found, asked(), Handling.BLOCK).handling is Handling.ALLOW
    assert decide(found, asked("sip:carol@example.com"), Handling.ALLOW).handling is Handling.BLOCK
