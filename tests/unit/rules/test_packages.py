"""Rules of the event packages where a presentity has none (issue 6 item 6)."""

from typing import get_args

import pytest

from tests.unit.rules.documents import ALICE, BOB
from vedette.events.registry import PACKAGES
from vedette.rules.document import Rule, RuleSet
from vedette.rules.packages import DIALOG_RULES, DialogRule, auids_of, default_for, remarks_on
from vedette.rules.permissions import EVERYTHING, NOTHING, Handling, Sight

ABROAD = "sip:dora@example.net"


@pytest.mark.parametrize("event", [*PACKAGES, "presence.winfo.winfo.winfo", "unheard-of"])
@pytest.mark.parametrize("watcher", [ALICE, "sips:alice@EXAMPLE.com", "sip:alice@example.com:5070"])
def test_everybody_may_watch_their_own_state(event: str, watcher: str) -> None:
    assert default_for(event, watcher, ALICE, Handling.BLOCK, "block") is Handling.ALLOW


@pytest.mark.parametrize("default", Handling)
@pytest.mark.parametrize("watcher", [BOB, ABROAD, None])
def test_presence_follows_the_default_rule(default: Handling, watcher: str | None) -> None:
    assert default_for("presence", watcher, ALICE, default, "allow") is default


@pytest.mark.parametrize("event", ["dialog", "dialog;sla"])
@pytest.mark.parametrize(
    ("rule", "same_domain", "abroad", "anonymous"),
    [
        ("same-domain", Handling.ALLOW, Handling.BLOCK, Handling.BLOCK),
        ("allow", Handling.ALLOW, Handling.ALLOW, Handling.ALLOW),
        ("confirm", Handling.CONFIRM, Handling.CONFIRM, Handling.CONFIRM),
        ("block", Handling.BLOCK, Handling.BLOCK, Handling.BLOCK),
    ],
)
def test_dialogs_are_shown_within_the_domain_or_by_their_own_rule(
    event: str, rule: DialogRule, same_domain: Handling, abroad: Handling, anonymous: Handling
) -> None:
    watchers = (BOB, "sip:bob@EXAMPLE.com", ABROAD, "sip:bob@sub.example.com", "tel:+15551234", None)
    found = [default_for(event, watcher, ALICE, Handling.ALLOW, rule) for watcher in watchers]
    assert found == [same_domain, same_domain, abroad, abroad, abroad, anonymous]


def test_numbers_have_no_domain_in_common() -> None:
    assert default_for("dialog", "tel:+15551234", "tel:+15555678", Handling.ALLOW, "same-domain") is Handling.BLOCK


@pytest.mark.parametrize("event", ["message-summary", *(name for name in PACKAGES if name.endswith(".winfo"))])
@pytest.mark.parametrize("watcher", [BOB, ABROAD, None])
def test_mailboxes_and_watchers_are_shown_to_nobody_else(event: str, watcher: str | None) -> None:
    assert default_for(event, watcher, ALICE, Handling.ALLOW, "allow") is Handling.BLOCK


def test_each_package_has_rules_of_its_own() -> None:
    assert auids_of("presence") == ("pres-rules", "org.openmobilealliance.pres-rules")
    assert auids_of("dialog") == auids_of("dialog;sla") == ("org.openxcap.dialog-rules",)
    assert auids_of("presence.winfo") == ("org.vedette.presence.winfo-rules",)
    assert auids_of("message-summary") == ("org.vedette.message-summary-rules",)
    usages = [auids_of(event) for event in PACKAGES if ";" not in event]
    assert len({usage for found in usages for usage in found}) == sum(map(len, usages))
    assert set(DIALOG_RULES) == set(get_args(DialogRule))


@pytest.mark.parametrize(
    ("event", "handling", "sight", "remarks"),
    [
        ("presence", Handling.ALLOW, NOTHING, 1),
        ("presence", Handling.ALLOW, EVERYTHING, 0),
        ("presence", Handling.CONFIRM, NOTHING, 0),
        ("dialog", Handling.ALLOW, NOTHING, 0),
    ],
)
def test_who_allows_and_shows_nothing_is_told_so(event: str, handling: Handling, sight: Sight, remarks: int) -> None:
    found = remarks_on(RuleSet((Rule("r", 7, (), (), handling, sight),)), event)
    assert len(found) == remarks
    assert all(remark.startswith("line 7: ") for remark in found)
