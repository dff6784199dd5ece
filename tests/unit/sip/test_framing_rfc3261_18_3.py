"""Cutting a stream into messages (RFC 3261 sections 7.5 and 18.3, RFC 5626 section 4.4.1)."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sip.messages import changed, wire
from vedette.sip.framing import Framed, KeepAlive, StreamFramer

PING = KeepAlive.PING
BODY = b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 99\r\n\r\n\r\n\r\n"
PLAIN = wire()
WITH_BODY = wire(changed(("Content-Length", str(len(BODY)))), body=BODY)
COMPACT = wire(changed(("Content-Length", None), ("l", "  4\t")), body=b"body")
FOLDED = wire(changed(("Content-Length", "\r\n  4")), body=b"body")


def framed(data: bytes, *, step: int = 0, max_head: int = 65536, max_body: int = 1048576) -> list[object]:
    """What a framer tells of a stream that arrives in pieces of `step` octets: data, reasons of errors, pings."""
    framer = StreamFramer(max_head=max_head, max_body=max_body)
    step = step or max(1, len(data))
    items = [item for start in range(0, len(data), step) for item in framer.receive(data[start : start + step])]
    return [told(item) for item in items]


def told(item: Framed | KeepAlive) -> object:
    if isinstance(item, KeepAlive):
        return item
    return item.data if item.error is None else (item.error.status, item.error.reason)


STREAMS = [
    # what arrives, what it is
    (b"", []),
    (PLAIN, [PLAIN]),
    (PLAIN * 3, [PLAIN] * 3),
    (WITH_BODY + PLAIN, [WITH_BODY, PLAIN]),
    (COMPACT + FOLDED + PLAIN, [COMPACT, FOLDED, PLAIN]),
    (PLAIN + PLAIN[:-1], [PLAIN]),
    (WITH_BODY[:-1], []),
    (b"\r\n" + PLAIN, [PLAIN]),
    (b"\r\n\r\n", [PING]),
    (b"\r\n\r\n" * 3, [PING] * 3),
    (b"\r\n\r\n\r\n" + PLAIN, [PING, PLAIN]),
    (PLAIN + b"\r\n\r\n" + PLAIN + b"\r\n" + PLAIN, [PLAIN, PING, PLAIN, PLAIN]),
    (PLAIN + b"\r\n", [PLAIN]),
    (PLAIN + b"\r", [PLAIN]),
]


@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_trn_08_11_12_msg_49_messages_and_pings_in_a_stream(stream: bytes, expected: list[object]) -> None:
    assert framed(stream) == expected


@pytest.mark.parametrize(("stream", "expected"), STREAMS)
@pytest.mark.parametrize("step", [1, 2, 3, 5, 64])
def test_trn_08_a_stream_in_pieces_is_the_same_stream(stream: bytes, expected: list[object], step: int) -> None:
    assert framed(stream, step=step) == expected


def test_trn_08_a_stream_cut_after_any_octet_is_the_same_stream() -> None:
    stream = WITH_BODY + PLAIN
    for at in range(len(stream)):
        framer = StreamFramer()
        items = [*framer.receive(stream[:at]), *framer.receive(stream[at:])]
        assert [told(item) for item in items] == [WITH_BODY, PLAIN], at


def test_a_message_is_given_out_with_its_last_octet_not_before() -> None:
    framer = StreamFramer()
    assert framer.receive(WITH_BODY[:-1]) == []
    assert framer.pending == len(WITH_BODY) - 1
    assert framer.receive(WITH_BODY[-1:]) == [Framed(WITH_BODY)]
    assert framer.pending == 0


ERRORS = [
    # Content-Length rows, status, reason
    ([], 400, "Missing Content-Length on a stream"),
    (["-1"], 400, "Malformed Content-Length"),
    ([""], 400, "Malformed Content-Length"),
    (["4 4"], 400, "Malformed Content-Length"),
    (["four"], 400, "Malformed Content-Length"),
    (["99999999999"], 400, "Malformed Content-Length"),
    (["3\rX: y"], 400, "Malformed Content-Length"),
    (["3", "4"], 400, "Malformed Content-Length"),
    (["1048577"], 413, "Body too large"),
    (["2147483648"], 413, "Body too large"),
]


@pytest.mark.parametrize(("lengths", "status", "reason"), ERRORS)
@pytest.mark.parametrize("step", [0, 1])
def test_trn_09_10_26_msg_25_40_uas_13_a_stream_without_a_usable_length_ends(
    lengths: list[str], status: int, reason: str, step: int
) -> None:
    bad = wire(
        [*changed(("Content-Length", None)), *(("Content-Length", length) for length in lengths)], body=b"body"
    )
    assert framed(PLAIN + bad + PLAIN, step=step) == [PLAIN, (status, reason)]


def test_msg_40_equal_content_lengths_are_one() -> None:
    twice = wire([*changed(("Content-Length", "4")), ("l", "4")], body=b"body")
    assert framed(twice + PLAIN) == [twice, PLAIN]


def test_trn_10_after_an_error_nothing_is_read_and_the_head_is_there_to_be_answered() -> None:
    framer = StreamFramer()
    head = wire(changed(("Content-Length", None)))
    [item] = framer.receive(head + PLAIN)
    assert isinstance(item, Framed)
    assert item.data == head
    assert framer.receive(PLAIN) == []


def test_trn_26_a_head_without_end_is_cut_off() -> None:
    endless = b"SUBSCRIBE sip:a@b SIP/2.0\r\nX: " + b"x" * 500
    assert framed(endless, max_head=400) == [(400, "Headers too long")]
    assert framed(endless, step=7, max_head=400) == [(400, "Headers too long")]
    framer = StreamFramer(max_head=400)
    for start in range(0, 401, 7):
        framer.receive(endless[start : start + 7])
    assert framer.pending <= 400 + 7


def test_trn_26_a_head_of_exactly_the_limit_is_read() -> None:
    assert framed(PLAIN, max_head=len(PLAIN)) == [PLAIN]
    assert framed(PLAIN, max_head=len(PLAIN) - 1) == [(400, "Headers too long")]


def test_uas_13_a_body_of_exactly_the_limit_is_read() -> None:
    assert framed(WITH_BODY, max_body=len(BODY)) == [WITH_BODY]
    assert framed(WITH_BODY, max_body=len(BODY) - 1) == [(413, "Body too large")]


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        PLAIN,
        WITH_BODY,
        COMPACT,
        b"l: 3\r\n",
        b"content-length : 0\r\n",
        b"\r\n\r\n",
        b"x",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join), st.data())
def test_trn_08_whatever_a_stream_holds_it_is_the_same_however_it_is_cut(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    framer = StreamFramer(max_body=1000)
    edges = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    items = [item for piece in pieces for item in framer.receive(piece)]
    assert [told(item) for item in items] == framed(stream, max_body=1000)
    assert framer.pending <= len(stream)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_trn_08_bodies_with_anything_in_them_come_out_as_they_were(bodies: list[bytes]) -> None:
    messages = [wire(changed(("Content-Length", str(len(body)))), body=body) for body in bodies]
    assert framed(b"".join(messages), step=11) == messages
