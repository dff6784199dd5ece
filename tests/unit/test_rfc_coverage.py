"""The coverage page says what the names of the tests say."""

import pytest

from tests.rfc_coverage import (
    ARGUMENTS,
    CHECKLIST,
    GROUPS,
    Argument,
    Proof,
    Row,
    claimed,
    claims,
    current_problems,
    find_tests,
    missing,
    page,
    problems,
    read_arguments,
    read_rows,
)

needs_checklist = pytest.mark.skipif(
    not CHECKLIST.exists(),
    reason=f"the RFC checklist is not part of the project and not in {CHECKLIST} (VEDETTE_SHARED)",
)

TEXT = """
| Group | Scope | Rows |
|---|---|---|
| PUB | PUBLISH | 43 |
| PUB-01 | MUST | 3903 6 | something -> 200 | headers |
| PUB-02 | SHOULD | 3903 6 | something -> 404 | headers |
| SEC-01 | MUST if built | 3261 22 | something -> 401 | status |
| TXN-02 | RECOMMENDED | 3261 17 | something | status |
| PUB-03 | MAY | 3903 9 | something -> 503 | status |
"""
ROWS = [
    Row("PUB", "01", "MUST"),
    Row("PUB", "02", "SHOULD"),
    Row("SEC", "01", "MUST if built"),
    Row("TXN", "02", "SHOULD"),
    Row("PUB", "03", "MAY"),
]
A_TEST = Proof("tests/unit/test_a.py", "test_pub_01_a")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_pub_06_a_tag_that_is_old", ["PUB-06"]),
        ("test_pub_06_07_a_tag", ["PUB-06", "PUB-07"]),
        ("test_pub_07_pub_14_pub_15_each_operation", ["PUB-07", "PUB-14", "PUB-15"]),
        ("test_sub_06_sub_13_and_sub_31_the_lifetime", ["SUB-06", "SUB-13", "SUB-31"]),
        ("test_sub_06_and_13_the_lifetime", ["SUB-06", "SUB-13"]),
        ("test_msg_08_dlg_08_what_is_written", ["MSG-08", "DLG-08"]),
        ("test_clients_7_and_pdf_19_any_prefixes", ["PDF-19"]),
        ("test_uas_08_require_is_ignored_and_uas_09_everywhere", ["UAS-08", "UAS-09"]),
        ("test_txn_01", ["TXN-01"]),
        ("test_txn_03_timer_j_is_64_t1_on_udp", ["TXN-03"]),
        ("test_the_strict_router_that_rfc_3261_prints", []),
        ("test_not_a_row", []),
        ("test_sub_1_and_sub_123", []),
        ("test_xyz_01_a", []),
    ],
)
def test_the_rows_that_a_name_carries(name: str, rows: list[str]) -> None:
    assert list(claims(name)) == rows


def test_rows_are_read_from_the_checklist_and_nothing_else_is() -> None:
    assert read_rows(TEXT) == ROWS


def test_a_required_row_without_test_and_argument_is_missing() -> None:
    required = ["PUB-01 (MUST)", "PUB-02 (SHOULD)", "SEC-01 (MUST if built)", "TXN-02 (SHOULD)"]
    assert missing(ROWS, {}, {}) == required, "MAY is free"
    assert missing([Row("REG", "01", "MUST")], {}, {}) == [], "REG is not complete"
    argued = dict.fromkeys(("PUB-02", "SEC-01", "TXN-02"), Argument("why"))
    assert missing(ROWS, claimed([A_TEST]), argued) == []


def test_a_claim_or_an_argument_of_no_row_is_told() -> None:
    tests = claimed([Proof("tests/unit/test_a.py", "test_pub_01_99_a")])
    assert problems(ROWS, tests, {"SUB-01": Argument("why")}) == [
        "tests/unit/test_a.py: test_pub_01_99_a claims PUB-99, which is no row of the checklist",
        "rfc-arguments.toml: SUB-01 is no row of the checklist",
    ]
    assert problems([Row("ZZZ", "01", "MUST")], {}, {}) == ["ZZZ-01 is of no group that tests/rfc_coverage.py knows"]


def test_a_test_of_our_client_proves_no_row() -> None:
    tests = claimed([Proof("tests/unit/user_agent/test_a.py", "test_pub_01_a")])
    assert problems(ROWS, tests, {}) == [
        "tests/unit/user_agent/test_a.py: test_pub_01_a claims PUB-01, but what it tests is no server"
    ]


def test_the_page_has_a_line_for_each_row_and_the_counts() -> None:
    arguments = {"PUB-02": Argument("Because."), "SEC-01": Argument("Later.", not_yet=True)}
    lines = page(ROWS, claimed([A_TEST]), arguments).splitlines()
    assert "| PUB-01 | MUST | tested | [test_a](../tests/unit/test_a.py): `test_pub_01_a` |" in lines
    assert "| PUB-02 | SHOULD | argued | Because. |" in lines
    assert "| SEC-01 | MUST if built | not yet | Later. |" in lines
    assert "| PUB-03 | MAY | not yet |  |" in lines
    assert f"| [PUB](#pub) | {GROUPS['PUB']} | 3 | 1 | 1 | 1 | 0 |" in lines
    assert f"| [SEC](#sec) | {GROUPS['SEC']} | 1 | 0 | 0 | 1 | 1 |" in lines


def test_what_is_not_met_is_not_yet_whatever_tests_show_of_it() -> None:
    lines = page(ROWS, claimed([A_TEST]), {"PUB-01": Argument("A part.", not_yet=True)}).splitlines()
    assert "| PUB-01 | MUST | not yet | A part.<br>[test_a](../tests/unit/test_a.py): `test_pub_01_a` |" in lines


def test_every_argument_says_why() -> None:
    arguments = read_arguments(ARGUMENTS.read_text(encoding="utf-8"))
    assert [row for row, argument in arguments.items() if not argument.reason.endswith(".")] == []


def test_tests_are_found_wherever_they_stand() -> None:
    names = {test.name for test in find_tests(ARGUMENTS.parent.parent / "tests")}
    assert "test_tests_are_found_wherever_they_stand" in names


@needs_checklist
def test_every_must_and_should_of_publish_subscribe_and_notify_is_tested_or_argued() -> None:
    assert current_problems() == []
