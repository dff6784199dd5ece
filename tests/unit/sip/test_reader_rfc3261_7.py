"""From octets to a message: start lines, header rows, the body of a datagram (RFC 3261 sections 7, 8.2 and 18.3)."""

import pytest

from tests.unit.sip.messages import SUBSCRIBE, changed, outcome, read_all, request, response, wire
from vedette.sip.errors import NotSipError, SipError
from vedette.sip.message import Request, Response
from vedette.sip.reader import MAX_HEADER_LENGTH, MAX_HEADERS, read_message

COMPACT = {
    "Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Length": "l", "Event": "o",
}  # fmt: skip

START_LINES = [
    ("SUBSCRIBE sip:alice@example.com SIP/2.0", "accept"),
    ("SUBSCRIBE sip:alice@example.com SIP/2.0 ", "accept"),  # MSG-28: lenient
    ("SUBSCRIBE sip:alice@example.com SIP/7.0", "reject:505"),
    ("SUBSCRIBE sip:alice@example.com SIP/2.1", "reject:505"),
    ("SUBSCRIBE <sip:alice@example.com> SIP/2.0", "reject:400"),
    ("SUBSCRIBE sip:alice@example.com; lr SIP/2.0", "reject:400"),
    ("SUBSCRIBE  sip:alice@example.com  SIP/2.0", "reject:400"),
    ("SUBSCRIBE  SIP/2.0", "reject:400"),
    ('SUBSCRIBE sip:al"ice@example.com SIP/2.0', "reject:400"),
    ("SUBSCRIBE sip:al\0ice@example.com SIP/2.0", "reject:400"),
    ("SUBSCRIBE sip:al\rice@example.com SIP/2.0", "reject:400"),
    ("SUBSCRIBE sip:al\tice@example.com SIP/2.0", "reject:400"),
    ("SUBSCRIBE nosuch:alice@example.com SIP/2.0", "reject:416"),
    ("SUBSCRIBE sip:alice@example.com sip/2.0", "drop"),
    ("SUBSCRIBE sip:alice@example.com HTTP/1.1", "drop"),
    ("SUBSCRIBE sip:alice@example.com", "drop"),
    ("SUBSCRIBE SIP/2.0", "drop"),
    ("\0\0\0 sip:alice@example.com SIP/2.0", "drop"),
    (" SUBSCRIBE sip:alice@example.com SIP/2.0", "drop"),
    ("GET / HTTP/1.1", "drop"),
    ("", "drop"),
]

STATUS_LINES = [
    ("SIP/2.0 200 OK", 200, "OK"),
    ("SIP/2.0 200 ", 200, ""),
    ("SIP/2.0 200", 200, ""),
    ("SIP/2.0  200 OK", 200, "OK"),
    ("SIP/2.0 699 Odd, but in range", 699, "Odd, but in range"),
    ("SIP/2.0 100 Trying", 100, "Trying"),
]

BROKEN_RESPONSES = [
    "SIP/2.0 4294967301 Better not",
    "SIP/2.0 099 Too low",
    "SIP/2.0 700 Too high",
    "SIP/2.0 20 Short",
    "SIP/2.0 2000",
    "SIP/2.0 OK",
    "SIP/2.0",
    "SIP/7.0 200 OK",
]


@pytest.mark.parametrize(("start", "expected"), START_LINES)
def test_msg_28_32_38_request_lines(start: str, expected: str) -> None:
    assert outcome(wire(start=start)) == expected


@pytest.mark.parametrize("start", ["A  SIP/2.0", "A sip:b c SIP/2.0", "A <sip:b> SIP/2.0"])
def test_msg_28_a_request_uri_that_can_be_none_is_a_defect_of_the_request(start: str) -> None:
    message = read_message(wire(start=start))
    assert isinstance(message, Request)
    assert message.defect is not None
    assert (message.defect.status, message.defect.reason) == (400, "Malformed Request-URI")


def test_msg_05_methods_are_case_sensitive() -> None:
    message = read_message(wire(changed(("CSeq", "7 subscribe")), start="subscribe sip:alice@example.com SIP/2.0"))
    assert isinstance(message, Request)
    message.check()
    assert message.method == "subscribe"
    assert outcome(wire(start="subscribe sip:alice@example.com SIP/2.0")) == "reject:400"


@pytest.mark.parametrize(("start", "status", "reason"), STATUS_LINES)
def test_msg_22_status_lines(start: str, status: int, reason: str) -> None:
    message = response(start)
    assert (message.status, message.reason) == (status, reason)


@pytest.mark.parametrize("start", BROKEN_RESPONSES)
def test_msg_34_a_status_line_out_of_range_is_dropped(start: str) -> None:
    with pytest.raises(SipError) as caught:
        read_message(wire(start=start))
    assert not isinstance(caught.value, NotSipError)


def test_msg_34_a_response_with_a_broken_header_is_dropped() -> None:
    with pytest.raises(SipError, match="header line"):
        read_message(b"SIP/2.0 200 OK\r\nno colon\r\n\r\n")


def test_what_is_no_sip_at_all_is_told_apart_from_a_broken_response() -> None:
    with pytest.raises(NotSipError):
        read_message(b"\r\n\r\n")
    with pytest.raises(SipError) as caught:
        read_message(b"SIP/2.0 999 Too high\r\n\r\n")
    assert not isinstance(caught.value, NotSipError)


def test_msg_01_compact_names_say_the_same_as_long_ones() -> None:
    compact = [(COMPACT.get(name, name), value) for name, value in SUBSCRIBE]
    short, long = read_message(wire(compact)), read_message(wire())
    mixed = read_message(wire([*compact[:5], *SUBSCRIBE[5:]]))
    assert short.headers.rows == long.headers.rows == mixed.headers.rows
    assert isinstance(short, Request)
    short.check()


@pytest.mark.parametrize(("name", "value"), SUBSCRIBE)
@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", " \r\n   \t "])
def test_msg_02_any_header_may_be_folded_at_its_white_space(name: str, value: str, fold: str) -> None:
    assert outcome(wire(changed((name, fold + value)))) == "accept"
    folded = request((name, value.replace(" ", fold)))
    assert folded.headers.rows == request().headers.rows


def test_msg_02_a_fold_is_one_space() -> None:
    assert request(("Subject", "in\r\n \t a\r\n meeting")).headers.get("subject") == "in a meeting"
    assert request(("Subject", "\r\n a")).headers.get("subject") == "a"


@pytest.mark.parametrize("name", ["Event", "event", "EVENT", "eVeNt", "Event ", "Event\t", "o", "O"])
def test_msg_03_04_names_in_any_case_with_space_before_the_colon(name: str) -> None:
    message = request(("Event", None), (name, "presence"))
    assert message.headers.all("event") == ["presence"]


def test_msg_03_white_space_around_a_value_is_no_part_of_it() -> None:
    assert request(("Event", " \t presence \t ")).headers.get("event") == "presence"


def test_msg_06_rows_and_lists_are_the_same_values() -> None:
    hops = ["SIP/2.0/UDP a;branch=z9hG4bK1", "SIP/2.0/UDP b;branch=z9hG4bK2", "SIP/2.0/UDP c;branch=z9hG4bK3"]
    rest = changed(("Via", None))
    layouts = [
        [("Via", hop) for hop in hops],
        [("Via", ", ".join(hops))],
        [("v", hops[0]), ("Via", ",".join(hops[1:]))],
    ]
    for layout in layouts:
        message = read_message(wire([*layout, *rest]))
        assert message.vias == hops
        assert isinstance(message, Request)
        assert message.client_branch == "z9hG4bK3"
        message.check()


def test_msg_10_11_12_unknown_and_misplaced_headers_change_nothing() -> None:
    message = request(("X-Foo", "bar"), ("SIP-ETag", "1"), ("Date", "yesterday"), ("Warning", "what?"))
    message.check()
    assert message.headers.get("x-foo") == "bar"


BODIES = [
    # Content-Length, octets that came, what is the body
    ("0", b"junk", b""),
    ("4", b"body", b"body"),
    ("4", b"bodyINVITE sip:x SIP/2.0\r\n\r\n", b"body"),
    ("0004", b"body", b"body"),
    ("4", b"\r\n\r\n", b"\r\n\r\n"),
    ("4", b"\x00\xff\x80\x0a", b"\x00\xff\x80\x0a"),
    (None, b"to the end", b"to the end"),
    (None, b"", b""),
]


@pytest.mark.parametrize(("length", "sent", "body"), BODIES)
def test_msg_18_47_the_body_of_a_datagram(length: str | None, sent: bytes, body: bytes) -> None:
    message = request(("Content-Length", length), body=sent)
    message.check()
    assert message.body == body


BAD_LENGTHS = ["5", "-999", "+4", "4.0", "four", "", "0x4", "٤", "4 4", "4,4", "99999999999", "1" * 5000]


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_msg_24_25_a_content_length_that_cannot_be_right(length: str) -> None:
    assert outcome(wire(changed(("Content-Length", length)), body=b"body")) == "reject:400"
    assert outcome(wire(changed(("Content-Length", length)), start="SIP/2.0 200 OK", body=b"body")) == "drop"


def test_msg_40_conflicting_content_lengths_are_refused_equal_ones_are_not() -> None:
    rows = changed(("Content-Length", None))
    assert outcome(wire([*rows, ("Content-Length", "4"), ("l", "3")], body=b"body")) == "reject:400"
    assert outcome(wire([*rows, ("Content-Length", "4"), ("l", "4")], body=b"body")) == "accept"


def test_trn_09_a_stream_message_without_content_length_is_refused() -> None:
    data = wire(changed(("Content-Length", None)))
    assert outcome(data, stream=True) == "reject:400"
    assert outcome(data) == "accept"


BAD_LINES = [
    b"no colon at all",
    b": no name",
    b"two words: value",
    b"Subject: a\nEvent: dialog",
    b"Subject: a\rEvent: dialog",
    b"Subject: a\0b",
    b"Subject: a\r\n b\nEvent: dialog",
    b"Subject: a\r\n \nEvent: dialog",
    b"Subject: a\r\n\tb\rEvent: dialog",
    b"Subject: a\r\n \0b",
    b"\nEvent: dialog",
    b"Subject\n: a",
    b"Subject: " + b"x" * MAX_HEADER_LENGTH,
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_msg_50_a_malformed_line_is_refused_and_smuggles_no_header(line: bytes) -> None:
    data = wire().replace(b"\r\nContent-Length", b"\r\n" + line + b"\r\nContent-Length")
    assert outcome(data) == "reject:400"
    message = read_message(data)
    assert message.headers.all("event") == ["presence"]


def test_msg_50_a_folded_line_needs_a_header_above_it() -> None:
    assert outcome(wire().replace(b"SIP/2.0\r\n", b"SIP/2.0\r\n folded\r\n", 1)) == "reject:400"
    after_rubbish = wire().replace(b"\r\nEvent", b"\r\nno colon\r\n folded\r\nEvent")
    message = read_message(after_rubbish)
    assert isinstance(message, Request)
    assert message.defect is not None
    assert message.headers.all("contact") == ["<sip:bob@192.0.2.10:5062>"]


def test_msg_50_a_message_with_bare_line_feeds_throughout_is_read() -> None:
    assert outcome(wire().replace(b"\r\n", b"\n")) == "accept"
    message = read_message(wire(body=b"").replace(b"\r\n", b"\n"))
    assert message.headers.rows == request().headers.rows


@pytest.mark.parametrize(
    ("end", "expected"), [(b"\r", "drop"), (b"\r\n\n", "reject:400"), (b"\n\r\n", "drop"), (b"\r\r\n", "drop")]
)
def test_msg_50_other_line_ends_are_refused(end: bytes, expected: str) -> None:
    assert outcome(wire().replace(b"\r\n", end)) == expected


def test_a_head_without_the_empty_line_is_answered_with_400() -> None:
    message = read_message(wire().removesuffix(b"\r\n"))
    assert isinstance(message, Request)
    assert message.defect is not None
    assert message.defect.status == 400
    assert message.headers.get("event") == "presence"


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_msg_36_each_mandatory_header_is_missed_by_name(name: str) -> None:
    message = request((name, None))
    with pytest.raises(SipError) as caught:
        message.check()
    assert caught.value.status == 400
    assert name.lower() in caught.value.reason.lower()
    assert outcome(wire(changed((name, None)), start="SIP/2.0 200 OK")) == "drop"


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards"])
def test_msg_39_a_header_that_may_stand_once_stands_once(name: str) -> None:
    rows = changed()
    assert outcome(wire([*rows, (name, dict(rows)[name])])) == "reject:400"


@pytest.mark.parametrize("name", ["Event", "Expires"])
def test_msg_39_event_and_expires_stand_once_where_they_are_read(name: str) -> None:
    message = read_message(wire([*SUBSCRIBE, (name, dict(SUBSCRIBE)[name])]))
    assert isinstance(message, Request)
    with pytest.raises(SipError, match=name):
        _ = message.event if name == "Event" else message.expires


def test_msg_37_max_forwards_may_be_missing() -> None:
    assert outcome(wire(changed(("Max-Forwards", None)))) == "accept"


def test_sec_07_more_headers_than_the_limit_are_refused() -> None:
    rows = [*SUBSCRIBE, *((f"X-{number}", "1") for number in range(MAX_HEADERS - len(SUBSCRIBE)))]
    assert outcome(wire(rows)) == "accept"
    assert outcome(wire([*rows, ("X-More", "1")])) == "reject:400"


def test_sec_07_a_header_of_the_greatest_length_is_read() -> None:
    longest = "x" * (MAX_HEADER_LENGTH - len("Subject: "))
    assert outcome(wire(changed(("Subject", longest)))) == "accept"
    assert outcome(wire(changed(("Subject", longest + "x")))) == "reject:400"


def test_uas_26_reasons_name_the_field_and_repeat_nothing_of_the_sender() -> None:
    evil = "<script>alert(1)</script>"
    complaints = [error for name, _ in SUBSCRIBE for error in read_all(request((name, evil)))]
    assert len(complaints) >= len(SUBSCRIBE)
    assert not [error for error in complaints if "script" in error.reason or not error.reason.isascii()]


def test_a_response_is_read_into_its_fields() -> None:
    message = response("SIP/2.0 489 Bad Event", ("Allow-Events", "presence"))
    assert isinstance(message, Response)
    assert message.cseq == (7, "SUBSCRIBE")
    assert message.to.tag is None
    assert message.headers.get("allow-events") == "presence"
