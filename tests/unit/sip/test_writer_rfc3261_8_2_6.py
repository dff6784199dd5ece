"""What is written (RFC 3261 sections 7, 8.2.6.2 and 18.2), read back by this library and by another one."""

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.messages import SUBSCRIBE, changed, request, wire
from vedette.sip.grammar import quote
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.writer import REASONS, Header, write_request, write_response

SOURCE = ("198.51.100.7", 40000)
VIAS = (
    "SIP/2.0/UDP p2.example.com:5062;branch=z9hG4bKp2;rport, SIP/2.0/TCP p1;branch=z9hG4bKp1;received=192.0.2.5;x",
    "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKc;alias;keep",
)


def answered(*changes: tuple[str, str | None], status: int = 200, to_tag: str = "t1") -> Response:
    message = read_message(write_response(request(*changes), status, source=SOURCE, to_tag=to_tag))
    assert isinstance(message, Response)
    return message


def test_uas_16_trn_28_a_response_copies_what_it_has_to() -> None:
    asked = read_message(wire([("Via", VIAS[0]), ("v", VIAS[1]), *changed(("Via", None))]))
    assert isinstance(asked, Request)
    data = write_response(asked, 200, source=SOURCE, to_tag="t1", headers=[("Expires", "600")])
    assert data == (
        b"SIP/2.0 200 OK\r\n"
        b"Via: SIP/2.0/UDP p2.example.com:5062;branch=z9hG4bKp2;rport=40000;received=198.51.100.7\r\n"
        b"Via: SIP/2.0/TCP p1;branch=z9hG4bKp1;received=192.0.2.5;x\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKc;alias;keep\r\n"
        b'From: "Bob" <sip:bob@example.com>;tag=b1\r\n'
        b"To: <sip:alice@example.com>;tag=t1\r\n"
        b"Call-ID: c1@192.0.2.10\r\n"
        b"CSeq: 7 SUBSCRIBE\r\n"
        b"Expires: 600\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("below", ["," * 8000, ", a" * 4000, ',"' + "," * 8000])
def test_sec_02_many_vias_in_a_row_make_no_long_response(below: str) -> None:
    row = f"SIP/2.0/UDP p2.example.com;branch=z9hG4bKp2{below}"
    asked = read_message(wire([("Via", row), ("Via", row), *changed(("Via", None))]))
    assert isinstance(asked, Request)
    data = write_response(asked, 400, source=SOURCE, to_tag="t1")
    assert len(data) < 2 * len(row) + 400
    answer = read_message(data)
    assert answer.vias[1:] == asked.vias[1:]


@pytest.mark.parametrize(
    ("to", "tag"),
    [
        ("<sip:a@b>", "t1"),
        ("sip:a@b", "t1"),
        ("<sip:a@b;tag=uri>", "t1"),
        ('";tag=display" <sip:a@b>', "t1"),
        ("<sip:a@b>;tagged=x", "t1"),
        ('<sip:a@b>;x=";tag=y"', "t1"),
        ("<sip:a@b>;tag=theirs", "theirs"),
        ("<sip:a@b>;x=1 ;\tTAG = theirs", "theirs"),
        ("sip:a@b;tag=theirs", "theirs"),
    ],
)
def test_uas_16_the_to_tag_is_added_where_there_is_none(to: str, tag: str) -> None:
    assert answered(("To", to)).to.tag == tag


@pytest.mark.parametrize("to", ["<sip:a@b>;tag", "<sip:a@b>;tag="])
def test_uas_16_a_to_with_an_empty_tag_gets_no_second_one(to: str) -> None:
    assert answered(("To", to)).headers.get("to") == to


def test_uas_16_a_provisional_has_no_tag_of_ours() -> None:
    assert answered(status=100, to_tag="").to.tag is None


def test_msg_36_a_request_without_to_and_call_id_can_be_answered() -> None:
    asked = request(("To", None), ("Call-ID", None), ("From", "nonsense <"))
    message = read_message(write_response(asked, 400, source=SOURCE, reason="Missing To", to_tag="t1"))
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (400, "Missing To")
    assert message.headers.get("from") == "nonsense <"
    assert message.top_via.branch == "z9hG4bKabc1"


def test_txn_13_the_reason_phrases_are_those_of_the_codes_and_408_is_not_among_them() -> None:
    assert 408 not in REASONS
    for status, reason in REASONS.items():
        assert answered(status=status).reason == reason
    assert answered(status=299).reason == "Unknown"


def test_msg_51_octets_that_are_no_utf_8_go_back_as_they_came() -> None:
    name = b'"J\xf6rg \\\0 \xe2\x82\xac" <sip:joerg@example.com>;tag=1'
    asked = read_message(wire(changed(("From", None))).replace(b"\r\nTo:", b"\r\nFrom: " + name + b"\r\nTo:"))
    assert isinstance(asked, Request)
    asked.check()
    assert b"\r\nFrom: " + name + b"\r\n" in write_response(asked, 200, source=SOURCE)


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
@pytest.mark.parametrize("end", ["\n", "\r", "\0", "\r\n \n", "\r\n x\n", "\r\n\t\0", "\r\n\n"])
def test_msg_50_51_a_refusal_copies_no_line_end_that_the_sender_smuggled(name: str, end: str) -> None:
    asked = request((name, f"{dict(SUBSCRIBE)[name]}{end}Contact: <sip:evil@example.org>"))
    answer = write_response(asked, 400, source=SOURCE, to_tag="t1")
    assert asked.defect is not None
    assert answer.count(b"\r\n") == answer.count(b"\n") == answer.count(b"\r") == 8
    assert b"\0" not in answer


def test_msg_51_a_request_as_it_goes_on_the_wire() -> None:
    data = write_request("NOTIFY", "sip:bob@h;ob", [("Via", "SIP/2.0/UDP e"), ("Event", "presence")], "é".encode())
    assert data == (
        b"NOTIFY sip:bob@h;ob SIP/2.0\r\nVia: SIP/2.0/UDP e\r\nEvent: presence\r\nContent-Length: 2\r\n\r\n\xc3\xa9"
    )


TOKEN = st.from_regex(r"[A-Za-z0-9.!*_+`'~-]{1,12}", fullmatch=True)  # the other reader decodes % in parameters
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)  # and joins white space
USER = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
URI = st.builds("sip:{}@{}".format, USER, st.sampled_from(["h", "a.b", "[::1]"]))
ADDRESS = st.builds(lambda name, uri, tag: f"{quote(name)} <{uri}>;tag={tag}", TEXT, URI, TOKEN)
NAME = st.from_regex(r"X-[A-Za-z]{1,8}", fullmatch=True)
HEADERS = st.lists(st.tuples(NAME, TEXT), max_size=4, unique_by=lambda header: header[0].lower())


@given(TOKEN, URI, ADDRESS, ADDRESS, TOKEN, st.integers(0, 2**31 - 1), HEADERS, st.binary(max_size=60))
def test_msg_51_a_request_is_read_by_us_and_by_others(
    method: str, uri: str, from_: str, to: str, token: str, number: int, extra: list[Header], body: bytes
) -> None:
    via = f"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK{token};rport"
    rows = [("Via", via), ("From", from_), ("To", to), ("Call-ID", token), ("CSeq", f"{number} {method}"), *extra]
    data = write_request(method, uri, rows, body)

    ours = read_message(data)
    assert isinstance(ours, Request)
    ours.check()
    assert (ours.method, ours.uri, ours.cseq, ours.call_id, ours.body) == (method, uri, (number, method), token, body)
    assert ours.headers.rows == {
        **{name.lower(): [value] for name, value in rows},
        "content-length": [str(len(body))],
    }

    theirs = sipmessage.Message.parse(data)
    assert isinstance(theirs, sipmessage.Request)
    assert (theirs.method, str(theirs.uri), theirs.call_id, theirs.body) == (method, uri, token, body)
    assert (theirs.cseq.sequence, theirs.cseq.method) == (number, method)
    assert [each.parameters.get("branch") for each in theirs.via] == [f"z9hG4bK{token}"]
    for mine, foreign in ((ours.from_, theirs.from_address), (ours.to, theirs.to_address)):
        assert (quote(foreign.name), str(foreign.uri)) == (mine.display, mine.uri)
        assert foreign.parameters.get("tag") == mine.tag


@given(URI, ADDRESS, URI, TOKEN, HEADERS, st.binary(max_size=60), st.sampled_from(sorted(REASONS)))
def test_msg_51_uas_16_a_response_is_read_by_us_and_by_others(
    uri: str, from_: str, to: str, token: str, extra: list[Header], body: bytes, status: int
) -> None:
    asked = request(("From", from_), ("To", f"<{to}>"), ("Call-ID", token), start=f"SUBSCRIBE {uri} SIP/2.0")
    data = write_response(asked, status, source=SOURCE, to_tag=token, headers=extra, body=body)

    ours = read_message(data)
    assert isinstance(ours, Response)
    assert (ours.status, ours.reason, ours.body) == (status, REASONS[status], body)
    assert (ours.to.uri, ours.to.tag, ours.call_id, ours.cseq) == (to, token, token, (7, "SUBSCRIBE"))
    assert [ours.headers.all(name.lower()) for name, _ in extra] == [[value] for _, value in extra]

    theirs = sipmessage.Message.parse(data)
    assert isinstance(theirs, sipmessage.Response)
    assert (theirs.code, theirs.phrase, theirs.body, theirs.call_id) == (status, REASONS[status], body, token)
    assert (str(theirs.to_address.uri), theirs.to_address.parameters.get("tag")) == (to, token)
    assert str(theirs.from_address.uri) == asked.from_.uri
    [via] = theirs.via
    assert via.parameters.get("branch") == "z9hG4bKabc1"
    assert (via.parameters.get("received"), via.parameters.get("rport")) == ("198.51.100.7", "40000")


def test_every_row_of_the_request_of_these_tests_is_read_by_others_too() -> None:
    theirs = sipmessage.Message.parse(wire())
    assert [name for name, _ in SUBSCRIBE] == theirs.headers.keys()
