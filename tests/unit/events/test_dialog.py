"""The event packages `dialog` and `dialog;sla`, and which Event headers mean them (rows DLI-01, DLI-04, DLI-13)."""

import pytest

from tests.dialog_info import TYPE, call, dialogs, read
from vedette.events.dialog import DIALOG
from vedette.events.dialog_sla import DIALOG_SLA
from vedette.events.package import EventPackage, Preferences, Publication
from vedette.events.registry import ALLOW_EVENTS, PACKAGES, package_of
from vedette.sip.event_header import EventHeader, parse_event

ALICE = "sip:alice@example.com"


def publication(number: int, body: bytes) -> Publication:
    return Publication(bytes([number]) * 16, TYPE, body)


@pytest.mark.parametrize("package", [DIALOG, DIALOG_SLA])
def test_dli_01_dli_13_the_packages_say_what_rfc_4235_says(package: EventPackage) -> None:
    """An hour: RFC 4235 section 3.4 has two only for a subscription to one dialog."""
    assert PACKAGES[package.name] is package
    assert package.notify_types == package.publish_types == (TYPE,)
    assert package.default_expires == 3600
    assert package.succession is not None
    assert package.check(TYPE, dialogs()) is None
    assert package.check(TYPE, b"") == "Dialog info: not well-formed XML at line 1, column 1"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("dialog", "dialog"),
        ("dialog;id=7", "dialog"),
        ("dialog;sla", "dialog;sla"),
        ("dialog; sla;id=7", "dialog;sla"),
        ("dialog;id=7;SLA", "dialog;sla"),
        ("dialog;shared", "dialog"),
        ("dialog;call-id=a;to-tag=b;from-tag=c", "dialog"),
        ("dialog.winfo", "dialog.winfo"),
        ("presence;sla", "presence"),
        ("sla", None),
        ("dialog.sla", None),
    ],
)
def test_dli_17_a_parameter_of_the_event_makes_it_another_package(value: str, name: str | None) -> None:
    package = package_of(parse_event(value))
    assert (None if package is None else package.name) == name


def test_dli_17_a_notify_names_the_event_as_it_was_asked_for_and_allow_events_names_no_parameter() -> None:
    assert str(EventHeader("dialog;sla", "7", ())) == "dialog;sla;id=7"
    assert ALLOW_EVENTS.split(", ") == ["dialog", "message-summary", "presence"]


def test_dli_04_the_neutral_document_has_no_dialog() -> None:
    for package in (DIALOG, DIALOG_SLA):
        seen = read(package.compose(ALICE, [], TYPE, Preferences()).with_version(0))
        assert (seen.version, seen.state, seen.entity, seen.dialogs) == (0, "full", ALICE, [])
        assert not package.neutral_is_optional


def test_parameter_force_single_dialog_is_one_of_lamps_and_not_of_shared_lines() -> None:
    publications = [publication(1, dialogs(call("early", "a"))), publication(2, dialogs(call("confirmed", "b")))]
    for package in (DIALOG, DIALOG_SLA):
        document = package.compose(ALICE, publications, TYPE, Preferences(force_single_dialog=True))
        assert read(document.with_version(1)).states == ["early", "confirmed"][: 1 if package is DIALOG else 2]
        document = package.compose(ALICE, publications, TYPE, Preferences())
        assert read(document.with_version(1)).states == ["early", "confirmed"]


def test_dli_09_ids_are_made_different_by_what_never_changes_of_a_publication() -> None:
    publications = [publication(number, dialogs(call("early", None, name="1"))) for number in (0xAB, 0xCD)]
    seen = read(DIALOG.compose(ALICE, publications, TYPE, Preferences()).with_version(1))
    assert [name for name, _ in seen.dialogs] == ["1.ababab", "1.cdcdcd"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("dialog;call-id=a;to-tag=l;from-tag=r1", ["early"]),
        ("dialog;from-tag=r1;call-id=a;id=7;to-tag=l", ["early"]),
        ("dialog;call-id=a;to-tag=l", ["early", "trying"]),
        ("dialog;call-id=a;to-tag=r1;from-tag=l", []),
        ("dialog;call-id=b;to-tag=l", []),
        ('dialog;call-id="x y;z@h\\"1\\"";to-tag=l', ["proceeding"]),
        ("dialog;call-id=a", ["early", "confirmed", "proceeding", "trying"]),
        ("dialog;to-tag=l;from-tag=r1", ["early", "confirmed", "proceeding", "trying"]),
        ("dialog;include-session-description", ["early", "confirmed", "proceeding", "trying"]),
    ],
)
def test_dli_05_and_dli_06_an_event_may_ask_for_one_dialog_or_those_of_one_invite(
    value: str, expected: list[str]
) -> None:
    publications = [
        publication(
            1,
            dialogs(
                call("early", "a", local="l", remote="r1"),
                call("trying", "a", local="l", remote="r2"),
                call("confirmed", "b", local="r1", remote="l"),
                call("proceeding", "x y;z@h&quot;1&quot;", local="l"),
            ),
        )
    ]
    assert DIALOG.part_of is not None
    media_type = TYPE + DIALOG.part_of(parse_event(value))
    assert media_type.isascii()
    assert " " not in media_type
    assert read(DIALOG.compose(ALICE, publications, media_type, Preferences()).with_version(0)).states == expected
