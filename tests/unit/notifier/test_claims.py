"""From a claim to the NOTIFY that an edge sends (RFC 6665 section 8.2.3; rows NOT-01 to NOT-08, DLG-08)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.claims import notify_item, subscription_state
from tests.unit.notifier.claimed import ACTIVE, PENDING, TERMINATED, claim, dialog
from vedette.rpc.contract import NotifyItem
from vedette.sip.flow import Flow


@pytest.mark.parametrize(
    ("status", "expires", "at", "reason", "value"),
    [
        (ACTIVE, 1600.0, 1000.0, "", "active;expires=600"),
        (ACTIVE, 1600.0, 1000.5, "", "active;expires=600"),
        (ACTIVE, 1600.0, 1001.0, "", "active;expires=599"),
        (ACTIVE, 1600.0, 1599.9, "", "active;expires=1"),
        (ACTIVE, 1600.0, 1600.0, "", "active;expires=0"),
        (ACTIVE, 1600.0, 1700.0, "", "active;expires=0"),
        (ACTIVE, 1600.0, 1000.0, "giveup", "active;expires=600"),
        (PENDING, 1600.0, 1000.0, "", "pending;expires=600"),
        (TERMINATED, 1600.0, 1000.0, "", "terminated;reason=timeout"),
        (TERMINATED, 1600.0, 1000.0, "timeout", "terminated;reason=timeout"),
        (TERMINATED, 1600.0, 1000.0, "deactivated", "terminated;reason=deactivated"),
        (TERMINATED, 1600.0, 1000.0, "rejected", "terminated;reason=rejected"),
    ],
)
def test_not_01_not_02_not_03_and_not_26_subscription_state(
    status: int, expires: float, at: float, reason: str, value: str
) -> None:
    made = subscription_state(claim("a", status=status, at=at), dialog("a", expires=expires, reason=reason))
    assert made == value


@given(granted=st.integers(0, 2**31), age=st.floats(0, 1e9))
def test_not_02_expires_is_what_is_left_and_never_more_than_was_granted(granted: int, age: float) -> None:
    start = 1_700_000_000.0
    value = subscription_state(claim("a", at=start + age), dialog("a", expires=start + granted))
    left = int(value.removeprefix("active;expires="))
    assert 0 <= left <= granted
    assert left >= granted - age - 1e-6


def test_not_07_and_dlg_08_the_notify_is_built_from_the_dialog_and_the_claim() -> None:
    made = notify_item(claim("a", cseq=7), dialog("a"), 2, digest=b"digest")
    assert made == NotifyItem(
        presentity_hash=claim("a").presentity_hash,
        dialog_id=b"a",
        cseq=7,
        document=2,
        call_id="call-a",
        local="<sip:alice@example.com>;tag=ours",
        remote='"Bob" <sip:bob@example.net>;tag=theirs',
        remote_tag="theirs",
        target="sip:bob@192.0.2.7:5060",
        record_route=["<sip:proxy.example.net;lr>"],
        event="presence",
        subscription_state="active;expires=600",
        local_contact="sip:presence@192.0.2.1:5060",
        flow=Flow("udp", "192.0.2.7", 5060),
        digest=b"digest",
        version=claim("a").document_version,
    )


def test_dlg_a_watcher_without_a_tag_gets_none() -> None:
    made = notify_item(claim("a"), dialog("a", from_tag=""), -1)
    assert (made.remote, made.remote_tag) == ('"Bob" <sip:bob@example.net>', "")


@pytest.mark.parametrize(
    ("event_id", "value"), [("", "presence"), ("7", "presence;id=7"), ("a.b", "presence;id=a.b")]
)
def test_not_06_event_is_the_package_and_the_id_of_the_subscription(event_id: str, value: str) -> None:
    assert notify_item(claim("a"), dialog("a", event_id=event_id), -1).event == value


KNOWN = bytes(16)


@pytest.mark.parametrize(
    ("status", "sent_before", "acked", "nothing"),
    [
        (ACTIVE, 4, KNOWN, True),
        (ACTIVE, 0, KNOWN, False),
        (ACTIVE, 4, None, False),
        (ACTIVE, 4, bytes(15), False),
        (PENDING, 4, KNOWN, True),
        (TERMINATED, 4, KNOWN, False),
        (TERMINATED, 0, KNOWN, False),
    ],
)
def test_parameter_suppress_unchanged_and_not_22_only_a_change_may_bring_nothing(
    status: int, sent_before: int, acked: bytes | None, *, nothing: bool
) -> None:
    owed = claim("a", status=status, sent_before=sent_before, acked_digest=acked)
    assert owed.brings_nothing(KNOWN) is nothing
    assert not owed.brings_nothing(b"another")
