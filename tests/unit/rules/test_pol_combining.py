"""What the rules that match say together (RFC 4745 section 10.2, RFC 5025 sections 3.2 and 9.7)."""

import json
from itertools import permutations

import pytest

from tests.unit.rules.documents import (
    ALICE,
    ALL_COMPONENTS,
    BOB,
    NOON,
    asked,
    decided,
    identity,
    one,
    read,
    rule,
    ruleset,
)
from tests.vectors import FOLDER, needs_vectors
from vedette.rules.conditions import Asked
from vedette.rules.decision import Basis, Decision, decide, explain
from vedette.rules.document import RuleSet, Unreadable, read_rules, together
from vedette.rules.permissions import EVERYTHING, NOTHING, Handling, Sight, UserInput, combine

CAROL = "sip:carol@example.com"
ANYBODY = identity("<many/>")


@needs_vectors
def test_pol_07_the_example_of_rfc_4745_combines_as_printed() -> None:
    example = json.loads((FOLDER / "golden" / "common-policy" / "rfc4745-10.3.json").read_text())
    handlings = {3: "block", 5: "confirm", 10: "polite-block", 12: "allow"}
    inputs = {1: "bare", 2: "thresholds", 3: "full"}

    def one_rule(row: dict[str, object]) -> str:
        period = (
            f"<validity><from>{example['times'][row['from']]}</from>"
            f"<until>{example['times'][row['until']]}</until></validity>"
        )
        return rule(
            f"r{row['id']}",
            one(f"sip:{row['watcher']}@example.com") + f'<sphere value="{row["sphere"]}"/>' + period,
            handlings[int(str(row["Y"]))],
            "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
            + ("" if row["X"] is None else f"<pr:provide-mood>{str(row['X']).lower()}</pr:provide-mood>")
            + f"<pr:provide-user-input>{inputs[int(str(row['Z']))]}</pr:provide-user-input>",
        )

    rules = read(*map(one_rule, example["rules"]))
    now = NOON.fromisoformat(example["now"])
    question = Asked(f"sip:{example['watcher']}@example.com", ALICE, "presence", example["sphere"], now)
    decision = decide(rules, question, Handling.BLOCK)
    assert decision.matched == tuple(f"r{row['id']}" for row in example["rules"] if row["matches"])
    assert decision.handling.text == handlings[example["combined"]["Y"]]
    assert ("mood" in decision.sight.attributes) is example["combined"]["X"]
    assert decision.sight.user_input.text == inputs[example["combined"]["Z"]]


def test_pol_07_booleans_numbers_and_sets_combine_and_what_is_missing_is_the_lowest() -> None:
    urn = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    rules = (
        rule(
            "first",
            None,
            "confirm",
            f"<pr:provide-devices><pr:deviceID>{urn}</pr:deviceID><pr:class>biz</pr:class></pr:provide-devices>"
            "<pr:provide-mood>true</pr:provide-mood><pr:provide-user-input>bare</pr:provide-user-input>",
        ),
        rule(
            "second",
            None,
            "allow",
            "<pr:provide-devices><pr:class>home</pr:class><pr:class>biz</pr:class></pr:provide-devices>"
            "<pr:provide-mood>false</pr:provide-mood><pr:provide-note>1</pr:provide-note>"
            '<pr:provide-unknown-attribute ns="urn:v" name="x">true</pr:provide-unknown-attribute>'
            '<pr:provide-unknown-attribute ns="urn:v" name="y">0</pr:provide-unknown-attribute>',
        ),
        rule("third"),
    )
    expected = Decision(
        Handling.ALLOW,
        Sight(
            devices=frozenset({("deviceID", urn), ("class", "biz"), ("class", "home")}),
            attributes=frozenset({"mood", "note"}),
            user_input=UserInput.BARE,
            unknown=frozenset({("urn:v", "x")}),
        ),
        ("first", "second", "third"),
        None,
    )
    assert decided(read(*rules)) == expected
    for order in permutations(rules):
        decision = decided(read(*order))
        assert (decision.handling, decision.sight) == (expected.handling, expected.sight)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["block", "allow"], Handling.ALLOW),
        (["allow", "block"], Handling.ALLOW),
        (["polite-block", "confirm"], Handling.POLITE_BLOCK),
        (["confirm", "block"], Handling.CONFIRM),
        (["block"], Handling.BLOCK),
        ([None], Handling.BLOCK),
        ([None, "confirm"], Handling.CONFIRM),
        ([], Handling.BLOCK),
    ],
)
def test_pol_12_the_highest_handling_wins_and_block_overrides_nothing(
    said: list[str | None], expected: Handling
) -> None:
    rules = [rule(f"r{number}", ANYBODY, handling) for number, handling in enumerate(said)]
    assert decided(read(*rules)).handling is expected
    assert expected in {Handling(value) for value in (0, 10, 20, 30)}


def test_rules_of_which_none_matches_block_and_no_rules_leave_it_to_the_default() -> None:
    rules = read(rule("r", one(CAROL), "allow", ALL_COMPONENTS))
    assert decided(rules) == Decision(Handling.BLOCK, NOTHING, (), None)
    assert decided(read()) == Decision(Handling.BLOCK, NOTHING, (), None)
    for default in Handling:
        shown = EVERYTHING if default is Handling.ALLOW else NOTHING
        assert decide(None, asked(), default) == Decision(default, shown, (), None, Basis.DEFAULT)


def test_nothing_is_shown_unless_it_is_allowed() -> None:
    for handling in ("block", "confirm", "polite-block"):
        assert decided(read(rule("r", None, handling, ALL_COMPONENTS))).sight == NOTHING


def test_what_one_rule_shows_another_one_may_allow() -> None:
    rules = read(rule("shows", None, None, ALL_COMPONENTS), rule("allows", one(BOB), "allow"))
    assert decided(rules).sight == Sight(EVERYTHING.services, EVERYTHING.persons, EVERYTHING.devices)
    assert decided(rules, CAROL).handling is Handling.BLOCK


def test_packages_without_transformations_show_everything_that_is_allowed() -> None:
    rules = read(rule("r", one(BOB), "allow"))
    assert decide(rules, asked(event="dialog"), Handling.BLOCK).sight == EVERYTHING
    assert decide(rules, asked(event="presence"), Handling.BLOCK).sight == NOTHING
    assert decide(rules, asked(CAROL, event="dialog"), Handling.ALLOW).handling is Handling.BLOCK


@pytest.mark.parametrize("watcher", [ALICE, "sip:alice@EXAMPLE.com:5060", "sips:%61lice@example.com"])
def test_nobody_is_kept_from_their_own_state(watcher: str) -> None:
    for rules in (None, read(), read(rule("r", None, "block")), Unreadable("broken")):
        own = decide(rules, asked(watcher), Handling.BLOCK)
        assert (own.handling, own.sight, own.basis) == (Handling.ALLOW, EVERYTHING, Basis.OWN)
        assert explain(rules, asked(watcher), Handling.BLOCK) == ()


def test_pol_27_all_documents_of_a_presentity_are_used_together() -> None:
    first, second = read(rule("a", one(BOB), "confirm")), read(rule("a", ANYBODY, "allow"))
    joined = together([first, second])
    assert isinstance(joined, RuleSet)
    assert decided(joined).matched == ("a", "a")
    assert decided(joined).handling is Handling.ALLOW
    assert together([]) is None
    assert together([first]) == first


@pytest.mark.parametrize("broken", [b"", b"<ruleset", b"\x00\x01", b"<ruleset/>", ruleset("<rule/>")])
def test_pol_29_rules_that_cannot_be_read_block(broken: bytes) -> None:
    found = read_rules(broken)
    assert isinstance(found, Unreadable)
    for watcher in (BOB, None):
        decision = decide(found, asked(watcher), Handling.ALLOW)
        assert decision == Decision(Handling.BLOCK, NOTHING, (), None, Basis.UNREADABLE)
        assert explain(found, asked(watcher), Handling.ALLOW) == ()
    good = read(rule("r", one(BOB), "allow"))
    assert together([found, found]) == found
    assert together([found, good]) == good


def test_explain_says_of_each_rule_why() -> None:
    rules = read(
        rule("bob", one(BOB), "allow"),
        rule("carol", one(CAROL) + '<sphere value="work home"/>', "block"),
        rule("later", "<validity><from>2030-01-01T00:00:00Z</from><until>2031-01-01T00:00:00Z</until></validity>"),
        rule("weather", "<v:fair xmlns:v='urn:v'/>", "allow"),
        rule("everybody", None, "confirm"),
        rule("silent", ANYBODY),
    )
    verdicts = explain(rules, asked(sphere="play"), Handling.BLOCK)
    assert [(verdict.id, verdict.matched, verdict.why) for verdict in verdicts] == [
        ("bob", True, "all conditions hold: allow"),
        ("carol", False, f"identity: does not name {BOB}; sphere: is play, not home or work"),
        ("later", False, "validity: not at 2026-06-01T12:00:00+00:00"),
        ("weather", False, "{urn:v}fair: this condition is not known"),
        ("everybody", True, "it has no conditions: confirm"),
        ("silent", True, "all conditions hold: no handling"),
    ]


@pytest.mark.parametrize(
    ("sight", "key"),
    [
        (NOTHING, ""),
        (EVERYTHING, "s=*;p=*;d=*;a=*"),
        (
            Sight(
                services=frozenset({("class", "a b;c=d,e:f*"), ("service-uri-scheme", "sip")}),
                attributes=frozenset({"note", "mood"}),
                user_input=UserInput.THRESHOLDS,
                unknown=frozenset({("urn:v:1", "x"), ("", "é")}),
            ),
            "s=class:a%20b%3Bc%3Dd%2Ce%3Af%2A,service-uri-scheme:sip;a=mood,note;u=thresholds;x=:%C3%A9,urn%3Av%3A1:x",
        ),
    ],
)
def test_the_key_of_a_sight_is_canonical_and_leads_back(sight: Sight, key: str) -> None:
    assert sight.key() == key
    assert Sight.from_key(key) == sight


@pytest.mark.parametrize("text", ["z=1", "u=half", "nonsense"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the key of a sight"):
        Sight.from_key(text)


def test_equal_outcomes_are_equal_sights_however_they_are_written() -> None:
    every = frozenset({("all", ""), ("class", "x")})
    told = Sight(
        every, every, every, frozenset({"mood"}), UserInput.FULL, frozenset({("a", "b")}), all_attributes=True
    )
    assert combine([told]) == EVERYTHING
    assert combine([Sight(attributes=frozenset({"mood"}), all_attributes=True)]) == NOTHING
