"""Responses as nearly all watchers write them are read the short way, and come to the same as by the long one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.sip.errors import SipError
from vedette.sip.message import Response
from vedette.sip.reader import MAX_USUAL_LENGTH, read_message

VIA = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa.1;rport"
ROWS = (
    VIA,
    "From: <sip:alice@example.com>;tag=ours",
    "To: <sip:bob@example.net>;tag=theirs",
    "Call-ID: c1@192.0.2.7",
    "CSeq: 12 NOTIFY",
    "Content-Length: 0",
)


def wire(*rows: str, start: str = "SIP/2.0 200 OK") -> bytes:
    return "\r\n".join([start, *rows, "", ""]).encode("latin-1")


def told(data: bytes) -> object:
    """All that a response says; what is wrong with it where something is."""
    try:
        read = read_message(data)
        assert isinstance(read, Response)
        fields = (read.status, read.reason, read.branch, read.cseq, read.retry_after, read.top_via, read.to)
    except SipError as error:
        return type(error), error.reason
    return *fields, read.headers.rows, read.body


def told_the_long_way(data: bytes) -> object:
    """The same of the response with its status line written as few do: with two spaces."""
    return told(data.replace(b"SIP/2.0 ", b"SIP/2.0  ", 1))


def is_short(data: bytes) -> bool:
    try:
        return "branch" in vars(read_message(data))
    except SipError:
        return False


@pytest.mark.parametrize(
    "data",
    [
        wire(*ROWS),
        wire(*ROWS, start="SIP/2.0 481 Call/Transaction Does Not Exist"),
        wire(*ROWS, start="SIP/2.0 202 "),
        wire(*ROWS[:-1]),
        wire(VIA, ROWS[2], "Content-Length: 0", "CSeq: 1 NOTIFY", "User-Agent:  SIPp ", "Allow: A", "Allow: B"),
        wire("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport=5060;received=192.0.2.9", *ROWS[1:]),
        wire("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;received=192.0.2.9;rport=5060", *ROWS[1:]),
        wire("Via: SIP/2.0/TCP [2001:db8::1]:45060;branch=z9hG4bKa", *ROWS[1:]),
    ],
)
def test_what_is_usual_is_read_the_short_way(data: bytes) -> None:
    assert is_short(data)
    assert told(data) == told_the_long_way(data)


@pytest.mark.parametrize(
    "data",
    [
        wire(*ROWS, "Retry-After: 7", start="SIP/2.0 503 Busy"),
        wire(*ROWS, "Content-Length: 2"),
        wire(*ROWS, "l: 2"),
        wire(*ROWS, "CSeq: 13 NOTIFY"),
        wire(*ROWS, "To: \xff"),
        wire(*ROWS, "To: a\tb", " folded"),
        wire(*ROWS, "Via: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKb"),
        wire(VIA, "v: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKb", *ROWS[1:]),
        wire(f"{VIA}, SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKb", *ROWS[1:]),
        wire("Via: SIP/2.0/UDP 192.0.2.1:70000;branch=z9hG4bKa", *ROWS[1:]),
        wire("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport;rport", *ROWS[1:]),
        wire(*ROWS, start="SIP/2.0 700 Odd"),
        wire(*ROWS) + b"body",
        wire(*ROWS, f"User-Agent: {'x' * MAX_USUAL_LENGTH}"),
        wire(*ROWS, *["To: "] * 300),
        wire(*ROWS)[:-2],
    ],
)
def test_what_is_not_usual_is_read_as_ever(data: bytes) -> None:
    assert told(data) == told_the_long_way(data)
    assert not is_short(data)


@given(st.integers(0, len(wire(*ROWS)) - 1), st.integers(0, 3), st.binary(max_size=3))
def test_a_response_with_something_else_in_it_is_read_alike_both_ways(at: int, cut: int, put: bytes) -> None:
    start, usual = len(b"SIP/2.0 "), wire(*ROWS)
    at = max(at, start)
    data = usual[:at] + put + usual[at + cut :]
    assert told(data) == told_the_long_way(data)
