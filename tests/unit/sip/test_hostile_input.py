"""Anything may arrive: only SipError comes out of a reader, whatever the octets are."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.sip.messages import SUBSCRIBE, exercise, wire
from vedette.sip.address import parse_address, without_tag
from vedette.sip.digest import choose, parse_challenge
from vedette.sip.errors import SipError
from vedette.sip.event_header import parse_event
from vedette.sip.framing import Framed, StreamFramer
from vedette.sip.grammar import parse_delta_seconds, parse_parameters, split_list
from vedette.sip.media_type import negotiate, parse_media_type
from vedette.sip.route import route_in_dialog
from vedette.sip.uri import address_of_record, parse_uri
from vedette.sip.via import parse_via

SPECIALS = [
    b"", b"\0", b"\r\n", b"\n", b"\r", b"\r\n ", b" ", b"\t", b",", b";", b'"', b"\\", b"<", b">", b"=", b":", b"@",
    b"/", b"%", b"*", b"[", b"]", b"?", b"-1", b"99999999999999999999", b"\xff", b"\xc3", "é\u2028".encode(),
    b"\x85", b"SIP/2.0", b"sip:", b"tag=", b"branch=z9hG4bK", b"\r\n\r\n", b"Via: ", b"l: ",
]  # fmt: skip
VALID = [
    wire(),
    wire(body=b"body"),
    wire(start="SIP/2.0 200 OK"),
    wire([("v", dict(SUBSCRIBE)["Via"]), *SUBSCRIBE[1:]], start="PUBLISH sip:a@b SIP/2.0"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid message with a few places overwritten, cut out or doubled."""
    data = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        put = draw(st.sampled_from(SPECIALS) | st.binary(max_size=6) | st.just(data[start:end] * 2))
        data = data[:start] + put + data[end:]
    return data


@settings(max_examples=300, deadline=None)
@given(st.binary() | st.lists(st.sampled_from(SPECIALS), max_size=30).map(b"".join))
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example(b"A sip:b SIP/2.0\r\n\r\n")
def test_msg_50_53_no_octets_make_the_reader_fail(data: bytes) -> None:
    exercise(data)


@settings(max_examples=1500, deadline=None)
@given(mutated())
def test_msg_50_53_no_mutation_of_a_valid_message_makes_the_reader_fail(data: bytes) -> None:
    exercise(data)


@settings(max_examples=600, deadline=None)
@given(st.lists(mutated() | st.binary(max_size=20), max_size=4).map(b"".join))
def test_trn_10_26_msg_53_no_stream_makes_the_framer_or_the_reader_fail(stream: bytes) -> None:
    items = StreamFramer(max_head=4000, max_body=4000).receive(stream)
    for item in items:
        if isinstance(item, Framed) and item.error is None:
            exercise(item.data)
        elif isinstance(item, Framed):
            assert item is items[-1]


PARSERS: dict[str, Callable[[str], object]] = {
    "address": lambda text: parse_address(text, "From"),
    "address of record": address_of_record,
    "challenge": parse_challenge,
    "delta seconds": lambda text: parse_delta_seconds(text, "Expires"),
    "event": parse_event,
    "media type": parse_media_type,
    "accept": lambda text: negotiate([text], ["application/pidf+xml"]),
    "parameters": lambda text: parse_parameters(text, "To"),
    "route": lambda text: route_in_dialog("sip:a@b", [text]),
    "target": lambda text: route_in_dialog(text, []),
    "uri": parse_uri,
    "via": parse_via,
}
TOTAL: dict[str, Callable[[str], object]] = {
    "challenges": lambda text: choose([text]),
    "list": split_list,
    "without tag": without_tag,
}
SEEDS = [
    "sip:a@b;x=1", '"x" <sip:a@b>;tag=1', "SIP/2.0/UDP h:5060;branch=z9hG4bK1;rport", "presence;id=1",
    "text/plain;q=0.5, */*",
    'Digest realm="r", nonce="n", qop="auth"', "3600",
]  # fmt: skip
PIECES = st.sampled_from([*SEEDS, *(special.decode("utf-8", "replace") for special in SPECIALS)])
VALUE = st.text() | st.lists(PIECES | st.text(max_size=2), max_size=8).map("".join)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=None)
@given(value=VALUE)
def test_msg_53_no_value_makes_a_parser_fail_with_anything_but_400_or_416(name: str, value: str) -> None:
    try:
        PARSERS[name](value)
    except SipError as error:
        if error.status not in {400, 416}:
            raise


@pytest.mark.parametrize("name", TOTAL)
@settings(max_examples=150, deadline=None)
@given(value=VALUE)
def test_msg_53_these_take_any_value(name: str, value: str) -> None:
    TOTAL[name](value)


RUNS = [
    " ", "\t", "\x0b", "\u00a0", ";", ",", '"', '\\"', "<", ">", ":", "=", "a", "a;", ";a", "a,", "1", "/", "@", "[",
    "a ", ' "',
]  # fmt: skip
FRAMES = [
    "{}", "a{}b", "<sip:a@b>{}x", '"a{}', "SIP/2.0/UDP h{}x", "SIP/2.0/UDP {}x", "sip:a@b{} ", "Digest a{}", ",{}",
    ";a={}",
]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES)
def test_sec_07_long_runs_of_one_piece_are_read_like_short_ones(frame: str) -> None:
    """Times are not measured: a pattern that searches back and forth would take hours for these."""
    for run in RUNS:
        value = frame.format(run * 8000)
        for parse in (*PARSERS.values(), *TOTAL.values()):
            try:
                parse(value)
            except SipError as error:
                assert len(error.reason) < 80  # noqa: PT017 - refused or not, it came back


@pytest.mark.parametrize("row", [b"l:%b\rb", b"l: a%bb", b"Content-Length%b: 0", b"l: 0\r\nX:%b", b"X: %b"])
def test_sec_07_long_runs_in_the_head_of_a_stream_are_framed_like_short_ones(row: bytes) -> None:
    for run in (b" ", b"\t", b"\r\n ", b"l:", b"\n"):
        items = StreamFramer().receive(b"PUBLISH sip:a@b SIP/2.0\r\n" + row % (run * 8000) + b"\r\n\r\n")
        assert items
