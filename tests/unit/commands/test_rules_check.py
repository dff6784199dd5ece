"""`vedette rules check`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.rules.documents import ALL_COMPONENTS, BOB, identity, one, rule, ruleset
from vedette_cli.main import app

DAY = "<validity><from>2026-06-01T00:00:00Z</from><until>2026-06-02T00:00:00Z</until></validity>"
CLASS = "<pr:provide-services><pr:class>biz</pr:class></pr:provide-services>"
RULES = ruleset(
    rule("bob", one(BOB) + DAY, "allow", CLASS + "<pr:provide-mood>true</pr:provide-mood>"),
    rule(
        "friends", identity('<many domain="example.net"/>'), "allow", ALL_COMPONENTS + "<pr:provide-all-attributes/>"
    ),
    rule("at work", '<sphere value="work"/>', "confirm"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.xml"
    path.write_bytes(RULES)
    return path


def check(*arguments: object) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(app, ["rules", "check", *map(str, arguments)])
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_a_good_document_is_counted(file: Path) -> None:
    assert check(file) == (0, [f"{file}: 3 rules"], "")


def test_what_would_be_decided_is_told_with_all_reasons(file: Path) -> None:
    code, lines, _ = check(file, "--seen-by", BOB, "--at", "2026-06-01T12:00:00", "--sphere", "home")
    assert (code, lines[1:]) == (
        0,
        [
            "sip:bob@example.com is allowed: bob",
            "  sees services: class biz",
            "  sees of their attributes: mood",
            "  until 2026-06-02T00:00:00+00:00",
            "  bob (line 3) matches: all conditions hold: allow",
            "  friends (line 4) does not match: identity: does not name sip:bob@example.com",
            "  at work (line 5) does not match: sphere: is home, not work",
        ],
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seen-by", "sip:dora@example.net"], ["sip:dora@example.net is allowed: friends", "  sees everything"]),
        (
            ["--seen-by", "anonymous"],
            ["anonymous is blocked: no rule matches", "  bob (line 3) does not match: identity: the watcher is not"],
        ),
        (
            ["--seen-by", "sip:carol@example.com", "--sphere", "work"],
            ["sip:carol@example.com waits for confirmation: at work", "  bob (line 3) does not match: identity"],
        ),
        (
            ["--seen-by", BOB, "--at", "2026-06-02T00:00:00"],
            [
                "sip:bob@example.com is blocked: no rule matches",
                "  bob (line 3) does not match: validity: not at 2026",
            ],
        ),
        (
            ["--seen-by", BOB, "--event", "dialog", "--at", "2026-06-01T00:00:00"],
            ["sip:bob@example.com is allowed: bob", "  sees everything"],
        ),
    ],
)
def test_each_watcher_has_a_decision(file: Path, options: list[str], told: list[str]) -> None:
    code, lines, _ = check(file, *options)
    assert code == 0
    assert [line[: len(start)] for line, start in zip(lines[1:], told, strict=False)] == told


def test_a_fault_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rules.xml"
    path.write_bytes(ruleset(rule("a"), rule("b", None, "permit")))
    fault = "'permit' is not one of block, confirm, polite-block, allow"
    assert check(path) == (2, [], f"{path}: line 4: <sub-handling>: {fault}\n")
    code, lines, _ = check(path, "--json")
    assert (code, json.loads(lines[0])["unreadable"]) == (
        2,
        {"reason": fault, "line": 4, "element": "sub-handling"},
    )


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rules.xml"
    path.write_bytes(ruleset(rule("a", one("bob"), "allow")))
    told = "line 3: <one>: bob is not a URI like sip:bob@example.com: it names nobody"
    assert check(path) == (1, [f"{path}: 1 rule", told], "")


def test_one_object_has_it_all(file: Path) -> None:
    code, lines, _ = check(file, "--json", "--seen-by", BOB, "--at", "2026-06-01T12:00:00")
    facts = json.loads(lines[0])
    assert (code, len(lines), facts["file"], facts["remarks"]) == (0, 1, str(file), [])
    assert facts["rules"] == [{"id": "bob", "line": 3}, {"id": "friends", "line": 4}, {"id": "at work", "line": 5}]
    assert facts["decision"] == {
        "handling": "allow",
        "matched": ["bob"],
        "sees": "s=class:biz;a=mood",
        "until": "2026-06-02T00:00:00+00:00",
    }
    assert [verdict["matched"] for verdict in facts["verdicts"]] == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sphere", "work"], "--sphere and --at go with --seen-by"),
        (["--seen-by", "bob"], "--seen-by: 'bob' is not a URI; write it like sip:bob@example.com"),
    ],
)
def test_options_that_make_no_sense_are_refused(file: Path, arguments: list[str], told: str) -> None:
    assert check(file, *arguments) == (2, [], told + "\n")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing.xml"
    assert check(missing) == (2, [], f"cannot read {missing}: No such file or directory\n")
