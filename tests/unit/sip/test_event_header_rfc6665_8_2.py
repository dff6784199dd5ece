"""The Event header (RFC 6665 section 8.2.1)."""

import json
from typing import Any

import pytest

from tests.unit.sip.messages import request
from tests.vectors import FOLDER, needs_vectors
from vedette.sip.errors import SipError
from vedette.sip.event_header import parse_event

EVENTS = [
    # value, package, id, what a NOTIFY carries
    ("presence", "presence", "", "presence"),
    ("Presence", "Presence", "", "Presence"),
    (" presence ; ID = Ab1 ", "presence", "Ab1", "presence;id=Ab1"),
    ("presence.winfo;x=1;id=a", "presence.winfo", "a", "presence.winfo;id=a"),
    ("dialog;shared", "dialog", "", "dialog"),
    ("presence;id=", "presence", "", "presence"),
    ("presence;id", "presence", "", "presence"),
    ('ua-profile;profile-type="application";version="2.2"', "ua-profile", "", "ua-profile"),
]

BAD_EVENTS = [
    "", " ", ";id=1", "presence,dialog", "presence, dialog", "a b", "presence;", "presence;;", "presence;id=1;id=2",
    "presence;=1",
    "pr\u00e9sence", "presence/x", 'presence;id="a b"', 'presence;id="a;x=1"', "presence;id=@", "presence;a@b=4",
    "presence;id=1,*",
]  # fmt: skip


@pytest.mark.parametrize(("value", "package", "event_id", "sent"), EVENTS)
def test_msg_04_45_events(value: str, package: str, event_id: str, sent: str) -> None:
    event = parse_event(value)
    assert (event.package, event.id, str(event)) == (package, event_id, sent)


@pytest.mark.parametrize("value", BAD_EVENTS)
def test_msg_13_45_events_that_are_malformed(value: str) -> None:
    with pytest.raises(SipError, match="Event") as caught:
        parse_event(value)
    assert caught.value.status == 400


def test_msg_45_package_and_id_are_compared_octet_by_octet_other_parameters_not_at_all() -> None:
    def identity(value: str) -> tuple[str, str]:
        event = parse_event(value)
        return event.package, event.id

    assert identity("presence;id=a;x=1") == identity("presence;y;ID=a")
    assert identity("presence;id=a") != identity("presence;id=A")
    assert identity("presence") != identity("Presence")


def test_msg_01_39_the_event_of_a_request() -> None:
    event = request(("Event", None), ("o", "presence;id=1")).event
    assert event is not None
    assert event.id == "1"
    assert request(("Event", None)).event is None
    with pytest.raises(SipError, match="More than one Event"):
        _ = request(("o", "presence")).event


def cases() -> list[dict[str, Any]]:
    path = FOLDER / "headers" / "event-headers.json"
    values = json.loads(path.read_text(encoding="utf-8"))["values"] if path.exists() else []
    return [case for case in values if case["header"] == "Event"]


@needs_vectors
@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['value']} {case.get('field', '')}")
def test_msg_45_the_values_that_ersip_reads_or_refuses(case: dict[str, Any]) -> None:
    if case["expected"] == "reject":
        with pytest.raises(SipError):
            parse_event(case["value"])
        return
    event = parse_event(case["value"])
    read = {"type_bin": event.package.lower(), "event_id": event.id.lower() or "undefined"}  # ersip folds case
    read |= {f"param:{name}": value or "" for name, value in event.parameters}
    if case.get("field") in read:
        assert read[case["field"]] == case["equals"]
    assert event.package == case["value"].partition(";")[0]
