"""The event package `presence` and the table of packages (PRS-01, PRS-02, PRS-04, PUB-29, UAS-19, CMP-10, CMP-15)."""

from itertools import permutations

import pytest

from tests.dialog_info import TYPE, call, dialogs
from vedette.documents import pidf
from vedette.documents.presence_schema import PIDF
from vedette.events.package import Preferences, Publication
from vedette.events.presence import PRESENCE
from vedette.events.registry import ALLOW_EVENTS, PACKAGES

ALICE = "sip:alice@example.com"
BODY = f'<presence xmlns="{PIDF}" entity="x"><tuple id="t"><status><basic>{{}}</basic></status></tuple></presence>'


def publication(number: int, basic: str = "open") -> Publication:
    return Publication(bytes([number]) * 16, "application/pidf+xml", BODY.format(basic).encode())


def document(entity: str, publications: list[Publication], media_type: str) -> bytes:
    composed = PRESENCE.compose(entity, publications, media_type, Preferences())
    assert composed.version_at == -1
    return composed.body


def test_prs_01_prs_02_and_prs_04_the_package_says_what_rfc_3856_says() -> None:
    assert PRESENCE.name == "presence"
    assert PRESENCE.publish_types == ("application/pidf+xml",)
    assert PRESENCE.notify_types == ("application/pidf+xml", "application/xpidf+xml")
    assert PRESENCE.default_expires == 3600


def test_every_package_stands_in_the_table_under_its_name() -> None:
    assert PACKAGES["presence"] is PRESENCE
    assert {name: package.name for name, package in PACKAGES.items()} == {name: name for name in PACKAGES}


def test_uas_19_allow_events_names_every_package_but_the_templates() -> None:
    named = ALLOW_EVENTS.split(", ")
    assert named == sorted(name for name in PACKAGES if not name.endswith(".winfo") and ";" not in name)
    assert "presence" in named


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BODY.format("open").encode(), None),
        (b"<presence/>", "PIDF: the root element is not presence"),
        (b"", "PIDF: not well-formed XML at line 1, column 1"),
    ],
)
def test_pub_32_bodies_are_checked_as_pidf(body: bytes, reason: str | None) -> None:
    assert PRESENCE.check("application/pidf+xml", body) == reason


def test_cmp_04_without_publications_it_composes_the_neutral_document() -> None:
    assert document(ALICE, [], "application/pidf+xml") == pidf.neutral(ALICE)


def test_old_phones_get_xpidf_of_the_same_composition() -> None:
    both = [publication(0xAB, "closed"), publication(0xCD)]
    composed = document(ALICE, both, "application/xpidf+xml")
    assert [composed.index(b'atom id="t.%s"' % scope) for scope in (b"cdcdcd", b"ababab")] == sorted(
        composed.index(b'atom id="t.%s"' % scope) for scope in (b"ababab", b"cdcdcd")
    )
    assert b'status="closed"' in document(ALICE, [], "application/xpidf+xml")


def test_pub_29_the_scope_of_ids_is_the_publications_own_and_never_changes() -> None:
    both = document(ALICE, [publication(0xAB), publication(0xCD)], "application/pidf+xml")
    assert b'id="t.ababab"' in both
    assert b'id="t.cdcdcd"' in both
    assert b'id="t.ababab"' in document(ALICE, [publication(0xAB, "closed")], "application/pidf+xml")


def test_cmp_10_the_order_of_what_is_given_is_the_order_of_what_is_sent_among_equals() -> None:
    for order in permutations([1, 2, 3]):
        composed = document(ALICE, [publication(number) for number in order], "application/pidf+xml")
        places = [composed.index(b'id="t.%02x' % number) for number in order]
        assert places == sorted(places)


def calls(*bodies: bytes) -> list[Publication]:
    """What these publications of calls, the newest first, add to presence."""
    assert PRESENCE.mixture is not None
    found = [Publication(bytes([place]) * 16, TYPE, body) for place, body in enumerate(bodies)]
    return PRESENCE.mixture.publications(found)


def test_cmp_15_presence_shows_calls_of_the_event_dialog_and_no_others() -> None:
    mixtures = {name: package.mixture.event for name, package in PACKAGES.items() if package.mixture is not None}
    assert mixtures == {"presence": "dialog"}


@pytest.mark.parametrize(
    ("bodies", "note"),
    [
        ([], None),
        ([dialogs()], None),
        ([dialogs(call("terminated", "a"))], None),
        ([dialogs(call("terminated", "a")), dialogs(call("early", "a"))], None),
        ([dialogs(call("early", "a")), dialogs(call("terminated", "a"))], None),
        ([dialogs(call("early", "a")), dialogs(call("terminated", "b"))], b"Calling"),
        ([dialogs(call("early", "a")), dialogs(call("confirmed", "b"))], b"On the phone"),
        ([dialogs(call("confirmed", "a")), dialogs(call("early", "a"))], b"On the phone"),
        ([dialogs(call("terminated", "a"), call("trying", "b"), call("confirmed", "c"))], b"On the phone"),
        ([b"unreadable", dialogs(call("confirmed", "a"))], b"On the phone"),
    ],
)
def test_cmp_15_what_counts_is_the_composed_state_of_all_publications(
    bodies: list[bytes], note: bytes | None
) -> None:
    found = calls(*bodies)
    assert len(found) == (note is not None)
    for item in found:
        assert note is not None
        assert b"<note>%s</note>" % note in item.body


def test_cmp_15_old_phones_see_that_the_line_is_in_use() -> None:
    mixed = [*calls(dialogs(call("confirmed", "a"))), publication(0xAB), publication(0xCD, "closed")]
    composed = document(ALICE, mixed, "application/xpidf+xml")
    assert (composed.count(b'status="inuse"'), composed.count(b'status="closed"')) == (2, 1)
