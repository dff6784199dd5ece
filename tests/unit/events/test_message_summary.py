"""The event package `message-summary` (RFC 3842; rows MWI-01, MWI-09, MWI-12)."""

from vedette.events.message_summary import MESSAGE_SUMMARY, SUMMARY_TYPE
from vedette.events.package import Preferences, Publication
from vedette.events.registry import ALLOW_EVENTS, PACKAGES

ALICE = "sip:alice@example.com"


def publication(number: int, body: bytes) -> Publication:
    return Publication(bytes([number]) * 16, SUMMARY_TYPE, body)


def document(*publications: Publication) -> bytes:
    return MESSAGE_SUMMARY.compose(ALICE, publications, SUMMARY_TYPE, Preferences()).body


def test_mwi_01_and_mwi_09_the_package_says_what_rfc_3842_says() -> None:
    assert PACKAGES["message-summary"] is MESSAGE_SUMMARY
    assert "message-summary" in ALLOW_EVENTS.split(", ")
    assert MESSAGE_SUMMARY.notify_types == MESSAGE_SUMMARY.publish_types == ("application/simple-message-summary",)
    assert MESSAGE_SUMMARY.default_expires == 3600
    assert not MESSAGE_SUMMARY.neutral_is_optional


def test_mwi_12_without_publications_no_messages_wait() -> None:
    assert document() == b"Messages-Waiting: no\r\nMessage-Account: sip:alice@example.com\r\n"


def test_the_summary_that_came_last_wins() -> None:
    newest = publication(1, b"Messages-Waiting: no\n")
    older = publication(2, b"Messages-Waiting: yes\nVoice-Message: 1/0\n")
    assert document(newest, older).startswith(b"Messages-Waiting: no\r\n")
    assert b"Voice-Message: 1/0\r\n" in document(older, newest)


def test_bodies_are_checked() -> None:
    assert MESSAGE_SUMMARY.check(SUMMARY_TYPE, b"Messages-Waiting: yes\r\n") is None
    assert MESSAGE_SUMMARY.check(SUMMARY_TYPE, b"maybe") == "Message summary: line 1 is no header"
