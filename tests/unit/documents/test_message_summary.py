"""Message summaries read and written (RFC 3842 section 5; rows MWI-03 to MWI-06, MWI-11, MWI-12)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents.message_summary import (
    MAX_COUNT,
    MAX_LINES,
    Counts,
    Summary,
    SummaryError,
    check,
    compose,
    read,
)

ALICE = "sip:alice@example.com"
VOICE = Counts("Voice-Message", 2, 8, (0, 2))

BODIES = vectors("body/message-summary")
NEITHER = "Message summary: Messages-Waiting is neither yes nor no"
NO_SUMMARIES = {
    "body/message-summary/kamailio-defs-L87.txt": NEITHER,
    "body/message-summary/kamailio-defs-L90.txt": NEITHER,
    "body/message-summary/siphon-rs-message_waiting-L891.txt": NEITHER,
    "body/message-summary/siphon-rs-message_waiting-L898.txt": "Message summary: line 2 has no counts",
}
"""Their sources make or read them as texts of headers; summaries they are not."""
STATUS = re.compile(rb"(Messages-Waiting: )(?:%s|\{\})")


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["accept"] and b"{}" not in v.data], ids=str)
def test_mwi_03_and_mwi_11_summaries_of_other_systems_are_read(vector: Vector) -> None:
    assert check(vector.data) == NO_SUMMARIES.get(vector.path)
    if vector.path not in NO_SUMMARIES:
        summary = read(vector.data)
        written = compose(ALICE, summary)
        assert read(written) == summary._replace(account=summary.account or ALICE)
        assert (b"Messages-Waiting: yes" in written) == (b"yes" in vector.data)


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["template"] or b"{}" in v.data], ids=str)
def test_mwi_03_templates_of_other_peoples_tests_are_summaries_once_they_are_filled_in(vector: Vector) -> None:
    filled = STATUS.sub(rb"\1yes", vector.data).replace(b"%s", b"sip:bob@example.com").replace(b"%d", b"7")
    assert check(filled) is None


@needs_vectors
def test_every_message_summary_vector_is_one_of_these() -> None:
    assert [vector.path for vector in BODIES if vector.expected not in (["accept"], ["template"])] == []
    assert set(NO_SUMMARIES) <= {vector.path for vector in BODIES}


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        (b"Messages-Waiting: yes\r\n", Summary(True)),
        (b"messages-waiting:NO", Summary(False)),
        (b"Messages-Waiting : yes\nMessage-Account:<sip:a@b>\n", Summary(True, "sip:a@b")),
        (b"Messages-Waiting: yes\r\nMessage-Account: tel:+1\r\n", Summary(True, "tel:+1")),
        (b"Messages-Waiting: yes\nVOICE-message:2/8(0/2)\n", Summary(True, None, (VOICE,))),
        (
            b"Messages-Waiting: no\r\nVoice-Message: 2/8 ( 0 / 2 )\r\nx-thing: 0/1 \r\n",
            Summary(False, None, (VOICE, Counts("X-Thing", 0, 1))),
        ),
        (b"Messages-Waiting: yes\r\n\r\nFrom: <sip:b@c>\r\n x\r\n\r\nFrom: <sip:d@e>\r\n", Summary(True)),
    ],
)
def test_mwi_03_and_mwi_11_what_is_lax_is_read_as_it_was_meant(body: bytes, summary: Summary) -> None:
    assert read(body) == summary


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "line 1 is no header"),
        (b"\r\nMessages-Waiting: yes\r\n", "line 1 is no header"),
        (b"Voice-Message: 1/0\r\n", "line 1 is not Messages-Waiting"),
        (b"Messages-Waiting: maybe\r\n", "Messages-Waiting is neither yes nor no"),
        (b"Messages-Waiting: yes\r\nVoice-Message:\r\n", "line 2 has no counts"),
        (b"Messages-Waiting: yes\r\nVoice-Message: 1\r\n", "line 2 has no counts"),
        (b"Messages-Waiting: yes\r\nVoice-Message: -1/0\r\n", "line 2 has no counts"),
        (b"Messages-Waiting: yes\r\nVoice-Message: 1/0 (1)\r\n", "line 2 has no counts"),
        ("Messages-Waiting: yes\r\nVoice-Message: \u0661/0\r\n".encode(), "line 2 has no counts"),
        (b"Messages-Waiting: yes\r\nMessage-Account: alice\r\n", "line 2: Message-Account is no URI"),
        (b"Messages-Waiting: yes\r\nMessage-Account: sip:a@b x\r\n", "line 2: Message-Account is no URI"),
        (
            b"Messages-Waiting: yes\r\nVoice-Message: 1/0\r\nMessage-Account: sip:a@b\r\n",
            "line 3: Message-Account is not",
        ),
        (b"Messages-Waiting: yes\r\nhello\r\n", "line 2 is no header"),
        (b"Messages-Waiting: yes\r\n\r\nhello\r\n", "line 3 is no header"),
        (b"Messages-Waiting: yes\r\nX: \x00\r\n", "line 2 is no header"),
        (b"Messages-Waiting: yes\rVoice-Message: 1/0\r", "line 1 is no header"),
        (b"Messages-Waiting: yes\r\nX: \xff\r\n", "not UTF-8"),
        (b"Messages-Waiting: yes\r\n" + b"X: 1/1\r\n" * (MAX_LINES + 1), f"more than {MAX_LINES} counts"),
        (b"<presence/>", "line 1 is no header"),
    ],
)
def test_mwi_03_what_is_no_summary_is_refused_with_the_line(body: bytes, reason: str) -> None:
    assert (check(body) or "").startswith(f"Message summary: {reason}")


@pytest.mark.parametrize("digits", ["4294967295", "4294967296", "99999999999", "0" * 50 + "4294967296", "9" * 50_000])
def test_mwi_04_counts_end_at_the_largest_that_may_be_told(digits: str) -> None:
    (counts,) = read(f"Messages-Waiting: yes\r\nFax-Message: {digits}/0 (1/{digits})\r\n".encode()).counts
    assert counts == Counts("Fax-Message", MAX_COUNT, 0, (1, MAX_COUNT))


def test_mwi_05_the_account_is_always_named_and_without_brackets() -> None:
    assert compose(ALICE, Summary(True)) == b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@example.com\r\n"
    shared = read(b"Messages-Waiting: yes\r\nMessage-Account: <sip:sales@example.com>\r\n")
    assert compose(ALICE, shared) == b"Messages-Waiting: yes\r\nMessage-Account: sip:sales@example.com\r\n"


def test_mwi_02_and_mwi_06_headers_of_single_messages_are_not_passed_on() -> None:
    body = (
        b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n\r\nFrom: <sip:bob@example.com>\r\nSubject: secret\r\n"
    )
    assert compose(ALICE, read(body)).split(b"\r\n") == [
        b"Messages-Waiting: yes",
        b"Message-Account: sip:alice@example.com",
        b"Voice-Message: 2/8 (0/2)",
        b"",
    ]


@given(
    st.binary() | st.text().map(str.encode) | st.text().map(lambda text: b"Messages-Waiting: yes\r\n" + text.encode())
)
def test_whatever_is_taken_is_written_as_what_was_read(body: bytes) -> None:
    try:
        summary = read(body)
    except SummaryError:
        assert check(body) is not None
        return
    assert read(compose(ALICE, summary)) == summary._replace(account=summary.account or ALICE)
