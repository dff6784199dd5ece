"""Arbitrary rules and documents: combination has no order, grants only grow, and nothing is added to a document."""

import itertools
from collections import Counter
from datetime import timedelta
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.documents.pidf_reading import ALICE
from tests.unit.documents.schemas import faults
from tests.unit.documents.test_pidf_compose_properties import anything, valid
from tests.unit.rules.documents import BOB, NOON, asked, identity, read, rule
from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents.pidf import PublishedDocument, compose
from vedette.documents.xml_reader import DocumentError, read_document
from vedette.rules.decision import Handling, decide, explain
from vedette.rules.permissions import EVERYTHING, Sight, UserInput, combine, unite
from vedette.rules.transform import see

SELECTORS = st.frozensets(
    st.sampled_from([
        ("all", ""), ("class", "a"), ("occurrence-id", "a"), ("occurrence-id", "t1"), ("service-uri", "sip:a@b"),
        ("service-uri-scheme", "sip"), ("deviceID", "urn:x"),
    ]),
    max_size=3,
)  # fmt: skip
SIGHTS = st.builds(
    Sight,
    services=SELECTORS,
    persons=SELECTORS,
    devices=SELECTORS,
    attributes=st.frozensets(st.sampled_from(["note", "mood", "activities", "class", "deviceID"])),
    user_input=st.sampled_from(UserInput),
    unknown=st.frozensets(st.sampled_from([("urn:vendor", "x"), ("urn:w", "x"), ("urn:vendor", "away")])),
    all_attributes=st.booleans(),
)

CONDITIONS = st.sampled_from([
    None, "", "<identity/>", identity(f'<one id="{BOB}"/>'), identity("<many/>"),
    identity('<many domain="example.com"/>'), identity(f'<many><except id="{BOB}"/></many>'),
    '<sphere value="work"/>', "<v:x xmlns:v='urn:v'/>", "<ocp:anonymous-request/>",
    "<validity><from>2026-06-01T11:00:00Z</from><until>2026-06-01T13:00:00Z</until></validity>",
    "<validity><from>2026-06-01T12:30:00Z</from><until>2026-06-01T14:00:00Z</until></validity>",
])  # fmt: skip
HANDLINGS = st.sampled_from([None, "block", "confirm", "polite-block", "allow"])
SHOWS = st.sampled_from([
    None, "<pr:provide-services><pr:all-services/></pr:provide-services>",
    "<pr:provide-persons><pr:class>a</pr:class></pr:provide-persons><pr:provide-mood>true</pr:provide-mood>",
    "<pr:provide-devices><pr:all-devices/></pr:provide-devices><pr:provide-all-attributes/>",
    "<pr:provide-user-input>bare</pr:provide-user-input><pr:provide-mood>false</pr:provide-mood>",
])  # fmt: skip
NUMBERS = itertools.count()
RULES = st.lists(
    st.tuples(CONDITIONS, HANDLINGS, SHOWS).map(lambda parts: rule(f"r{next(NUMBERS)}", *parts)), max_size=6
)
WATCHERS = st.sampled_from([BOB, "sip:carol@example.com", "sip:dora@example.net", None])
SPHERES = st.sampled_from([None, "work", "home"])


def grants_at_least(more: Sight, less: Sight) -> bool:
    return combine([more, less]) == combine([more])


@given(RULES, WATCHERS, SPHERES, st.randoms(use_true_random=False))
def test_pol_07_combination_has_no_order(
    rules: list[str], watcher: str | None, sphere: str | None, random: Random
) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    question = asked(watcher, sphere=sphere)
    first = decide(read(*rules), question, Handling.BLOCK)
    second = decide(read(*shuffled), question, Handling.BLOCK)
    assert (first.handling, first.sight, first.until) == (second.handling, second.sight, second.until)
    assert sorted(first.matched) == sorted(second.matched)


@given(RULES, RULES, WATCHERS, SPHERES)
def test_pol_12_more_rules_never_grant_less(
    rules: list[str], more: list[str], watcher: str | None, sphere: str | None
) -> None:
    question = asked(watcher, sphere=sphere)
    less = decide(read(*rules), question, Handling.BLOCK)
    grown = decide(read(*rules, *more), question, Handling.BLOCK)
    assert grown.handling >= less.handling
    assert grants_at_least(grown.sight, less.sight)
    assert set(less.matched) <= set(grown.matched)


@given(RULES, WATCHERS, SPHERES)
def test_what_is_explained_is_what_is_decided(rules: list[str], watcher: str | None, sphere: str | None) -> None:
    question = asked(watcher, sphere=sphere)
    found = read(*rules)
    verdicts = explain(found, question, Handling.BLOCK)
    assert [verdict.id for verdict in verdicts] == [each.id for each in found.rules]
    decision = decide(found, question, Handling.BLOCK)
    assert decision.matched == tuple(verdict.id for verdict in verdicts if verdict.matched)
    assert all(verdict.why for verdict in verdicts)


@given(RULES, WATCHERS, SPHERES)
def test_pol_16_a_decision_stays_until_it_says(rules: list[str], watcher: str | None, sphere: str | None) -> None:
    found = read(*rules)

    def at(minutes: int) -> tuple[Handling, Sight]:
        question = asked(watcher, sphere=sphere, now=NOON + timedelta(minutes=minutes))
        decision = decide(found, question, Handling.BLOCK)
        return decision.handling, decision.sight

    until = decide(found, asked(watcher, sphere=sphere), Handling.BLOCK).until
    moments = [NOON + timedelta(minutes=minutes) for minutes in range(0, 180, 10)]
    same = [(moment, at(minutes) == at(0)) for minutes, moment in zip(range(0, 180, 10), moments, strict=True)]
    assert all(stays for moment, stays in same if until is None or moment < until)
    assert until is None or not dict(same)[until]


@given(SIGHTS)
def test_the_key_of_any_sight_leads_back(sight: Sight) -> None:
    found = combine([sight])
    assert Sight.from_key(found.key()) == found
    assert combine([found]) == found


@given(st.lists(SIGHTS, min_size=1, max_size=4))
def test_pol_07_sights_combine_to_what_contains_them_all(sights: list[Sight]) -> None:
    assert combine(sights) == combine(sights[::-1]) == combine([unite(sights)])
    assert all(grants_at_least(combine(sights), sight) for sight in sights)


def content(element: ET.Element) -> Counter[tuple[str, ...]]:
    """Every element with its way from the root, its attributes and its text, each on its own."""
    found: Counter[tuple[str, ...]] = Counter()

    def walk(node: ET.Element, way: str) -> None:
        way = f"{way}/{node.tag}"
        found[(way,)] += 1
        found.update((way, name, value) for name, value in node.attrib.items())
        if (node.text or "").strip():
            found[(way, (node.text or "").strip())] += 1
        for child in node:
            walk(child, way)

    walk(element, "")
    return found


@given(st.one_of(anything(), valid()), SIGHTS)
def test_pol_25_31_seeing_adds_nothing_and_keeps_what_is_valid_valid(body: bytes, sight: Sight) -> None:
    whole = compose(ALICE, [PublishedDocument(body, "0a1b2c")])
    left = see(whole, sight).document
    assert not content(ET.fromstring(left)) - content(ET.fromstring(whole))
    again = see(left, sight).document
    by_class = any(kind == "class" for kind, _ in sight.services | sight.persons | sight.devices)
    assert again == left or by_class
    assert faults(whole) or not faults(left)


@given(st.one_of(anything(), valid()), SIGHTS, SIGHTS)
def test_pol_07_more_grants_show_no_less(body: bytes, sight: Sight, other: Sight) -> None:
    whole = compose(ALICE, [PublishedDocument(body, "0a1b2c")])
    both = combine([sight, other])
    if both == EVERYTHING:
        return
    less, more = (ET.fromstring(see(whole, each).document) for each in (sight, both))
    assert not content(less) - content(more)


@needs_vectors
@pytest.mark.parametrize("vector", vectors("body/pidf"), ids=str)
def test_pol_25_seeing_other_peoples_documents_again_changes_nothing(vector: Vector) -> None:
    try:
        read_document(vector.data)
    except DocumentError:
        whole = compose(ALICE, [])
    else:
        whole = compose(ALICE, [PublishedDocument(vector.data, "0a1b2c")])
    sights = [
        Sight(EVERYTHING.services, EVERYTHING.persons, EVERYTHING.devices),
        Sight(services=frozenset({("service-uri-scheme", "sip")}), attributes=frozenset({"note", "activities"})),
        Sight(persons=EVERYTHING.persons, user_input=UserInput.BARE, all_attributes=True),
        Sight(EVERYTHING.services, EVERYTHING.persons, user_input=UserInput.THRESHOLDS),
    ]
    for sight in sights:
        left = see(whole, sight).document
        assert see(left, sight).document == left
        assert faults(whole) or not faults(left)
        assert not content(ET.fromstring(left)) - content(ET.fromstring(whole))
