"""A row of the tables as watcher information shows it (RFC 3858 section 3.1; rows WIN-08, WIN-13, WIN-14)."""

import pytest

from notifier.domain.watchers import ACTIVE, PENDING, TERMINATED, WAITING, WatcherRow, shown
from vedette.documents.watcherinfo import Watcher
from vedette.identity import to_tag, watcher_id

ROW = WatcherRow(
    dialog_id=bytes(range(16)),
    watcher_username="bob",
    watcher_domain="example.net",
    from_uri='"Bob \\"B\\"" <sip:bob@192.0.2.7>',
    status=ACTIVE,
    status_event="subscribe",
    created=1000.0,
    expires=1600.5,
)


def test_win_13_who_it_is_since_when_and_for_how_long() -> None:
    assert shown(ROW, 1010.9, 0) == Watcher(
        watcher_id(ROW.dialog_id), "sip:bob@example.net", "active", "subscribe", 'Bob "B"', 590, 10
    )


@pytest.mark.parametrize(
    ("username", "domain", "uri"),
    [
        ("bob", "example.net", "sip:bob@example.net"),
        ("", "example.net", "sip:example.net"),
        ("", "[2001:db8::1]", "sip:[2001:db8::1]"),
        ("", "tel:+15551234", "tel:+15551234"),
        ("", "name:John_Smith", "name:John_Smith"),
    ],
)
def test_win_14_the_watcher_is_named_by_its_address_of_record(username: str, domain: str, uri: str) -> None:
    assert shown(ROW._replace(watcher_username=username, watcher_domain=domain), 1000.0, 0).uri == uri


@pytest.mark.parametrize(
    ("value", "name"),
    [("<sip:bob@example.net>", ""), ("sip:bob@example.net", ""), ("Bob <sip:bob@example.net>", "Bob"), ("<", "")],
)
def test_its_name_is_what_it_calls_itself(value: str, name: str) -> None:
    assert shown(ROW._replace(from_uri=value), 1000.0, 0).display_name == name


@pytest.mark.parametrize(
    ("status", "word", "alive"),
    [
        (ACTIVE, "active", True),
        (PENDING, "pending", True),
        (WAITING, "waiting", False),
        (TERMINATED, "terminated", False),
    ],
)
def test_win_08_each_status_has_its_word_and_only_what_lives_has_a_lifetime(
    status: int, word: str, *, alive: bool
) -> None:
    watcher = shown(ROW._replace(status=status, status_event="timeout"), 1000.0, 0)
    assert (watcher.status, watcher.event, watcher.expiration is not None) == (word, "timeout", alive)


def test_parameter_expires_offset_a_lifetime_is_shown_as_its_watcher_was_told() -> None:
    assert shown(ROW, 1000.5, 30).expiration == 570
    assert shown(ROW, 1590.0, 30).expiration == 0


def test_win_13_the_id_is_the_dialogs_own_and_tells_nothing_of_its_tag() -> None:
    ids = {watcher_id(bytes([number]) * 16) for number in range(100)}
    assert len(ids) == 100
    assert watcher_id(ROW.dialog_id) == watcher_id(ROW.dialog_id)
    assert watcher_id(ROW.dialog_id) not in to_tag("10", 1, ROW.dialog_id)
