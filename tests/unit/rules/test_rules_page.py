"""The examples of `docs/rules.md` are read without remarks and decide what the page says."""

import re

import pytest

from tests.rfc_coverage import ROOT
from tests.unit.rules.documents import ALICE, NOON
from vedette.rules.conditions import Asked
from vedette.rules.decision import decide
from vedette.rules.document import RuleSet, read_rules
from vedette.rules.packages import auids_of
from vedette.rules.permissions import EVERYTHING, NOTHING, Handling, Sight, UserInput

PAGE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = [read_rules(found.encode()) for found in re.findall(r"```xml\n(.*?)```", PAGE, re.DOTALL)]
AUGUST = NOON.replace(month=8)
REACHABLE = Sight(
    services=frozenset({("service-uri-scheme", "sip")}),
    persons=EVERYTHING.persons,
    attributes=frozenset({"activities"}),
    user_input=UserInput.BARE,
)


def test_all_examples_are_read_without_remarks() -> None:
    assert [isinstance(found, RuleSet) and found.remarks for found in EXAMPLES] == [(), (), ()]


@pytest.mark.parametrize(
    ("number", "event", "watcher", "sphere", "august", "handling", "sight"),
    [
        (0, "presence", "sip:bob@example.com", None, False, Handling.ALLOW, EVERYTHING),
        (0, "presence", "sip:mallory@example.com", None, False, Handling.BLOCK, NOTHING),
        (0, "presence", "sip:dora@example.net", None, False, Handling.CONFIRM, NOTHING),
        (0, "presence", None, None, False, Handling.BLOCK, NOTHING),
        (1, "presence", "sip:eve@agency.example", "work", False, Handling.POLITE_BLOCK, NOTHING),
        (1, "presence", "sip:carol@agency.example", "work", False, Handling.ALLOW, REACHABLE),
        (1, "presence", "sip:alice@home.example", "work", False, Handling.ALLOW, REACHABLE),
        (1, "presence", "sip:carol@agency.example", "home", False, Handling.BLOCK, NOTHING),
        (2, "dialog", "sip:desk2@example.com", None, False, Handling.ALLOW, EVERYTHING),
        (2, "dialog", "sip:bob@example.com", None, False, Handling.BLOCK, NOTHING),
        (2, "dialog", "sip:bob@example.com", None, True, Handling.ALLOW, EVERYTHING),
        (2, "dialog", "sip:carol@example.com", None, True, Handling.BLOCK, NOTHING),
    ],
)
def test_the_examples_decide_what_the_page_says(
    *,
    number: int,
    event: str,
    watcher: str | None,
    sphere: str | None,
    august: bool,
    handling: Handling,
    sight: Sight,
) -> None:
    rules = EXAMPLES[number]
    decision = decide(rules, Asked(watcher, ALICE, event, sphere, AUGUST if august else NOON), Handling.ALLOW)
    assert (decision.handling, decision.sight) == (handling, sight)


@pytest.mark.parametrize("event", ["presence", "dialog", "message-summary", "presence.winfo"])
def test_the_page_names_the_application_usages(event: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{event}`"))
    assert all(f"`{usage}`" in row for usage in auids_of(event))
