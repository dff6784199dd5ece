"""Each trait that the published torture messages show (RFC 4475, RFC 5118), in messages of our own.

So a checkout without other people's messages is tested as well. What stands in a row is the least that shows it.
"""

from collections.abc import Callable

import pytest

from tests.unit.sip.messages import START, SUBSCRIBE, changed, outcome, request, wire
from vedette.sip.address import parse_address
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.reader import MAX_HEADER_LENGTH, MAX_HEADERS, read_message
from vedette.sip.uri import address_of_record, parse_uri
from vedette.sip.via import parse_via

COMPACT = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Event": "o", "Content-Length": "l"}


def but(*changes: tuple[str, str | None], start: str = START, body: bytes = b"") -> bytes:
    """The SUBSCRIBE with these changes."""
    return wire(changed(*changes), start=start, body=body)


def to(uri: str) -> bytes:
    """The SUBSCRIBE for that Request-URI."""
    return but(start=f"SUBSCRIBE {uri} SIP/2.0")


def more(*rows: tuple[str, str]) -> bytes:
    """The SUBSCRIBE with these rows behind its own."""
    return wire([*SUBSCRIBE, *rows])


TRAITS: dict[str, tuple[bytes, str]] = {
    # rows of the checklist and the trait: the message, what becomes of it
    "msg_01 compact names": (wire([(COMPACT.get(name, name), value) for name, value in SUBSCRIBE]), "accept"),
    "msg_02 a fold in every kind of value": (
        but(
            ("Via", "SIP/2.0/UDP\r\n 192.0.2.10\r\n\t;branch=z9hG4bK1"),
            ("From", '"Bob\r\n  the builder"\r\n <sip:bob@example.com>\r\n ;\r\n tag\r\n =\r\n b1'),
            ("CSeq", "7\r\n  SUBSCRIBE"),
        ),
        "accept",
    ),
    "msg_03 space before the colon": (wire([(f"{name} \t", value) for name, value in SUBSCRIBE]), "accept"),
    "msg_04 names in any case": (wire([(name.swapcase(), value) for name, value in SUBSCRIBE]), "accept"),
    "msg_05 a method in lower case is another": (but(start=START.replace("SUBSCRIBE", "subscribe")), "reject:400"),
    "msg_06 several values in one row": (
        but(("Via", "SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b;branch=z9hG4bK2,SIP/2.0/TLS c;branch=z9hG4bK3")),
        "accept",
    ),
    "msg_08 quotes and commas in a display name": (but(("From", '"a, \\"b\\" <c>; \\\\" <sip:b@c>;tag=1')), "accept"),
    "msg_13 separators that separate nothing in Contact": (but(("To", "<sip:a@b>;;,;,,")), "reject:400"),
    "msg_14 every character of a token": (
        but(("Call-ID", "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"), ("From", "<sip:b@c>;tag=_token~1'+`*%!-.")),
        "accept",
    ),
    "msg_15 a percent sign in a method": (
        but(("CSeq", "7 RE%47IST%45R"), start="RE%47IST%45R sip:alice@example.com SIP/2.0"),
        "accept",
    ),
    "msg_15 an escaped null in a user": (to("sip:null-%00-null@example.com"), "accept"),
    "msg_16 no space before the bracket": (but(("From", "caller<sip:caller@example.com>;tag=1")), "accept"),
    "msg_17 a long value": (but(("From", f'"{"long " * 700}" <sip:b@c>;tag={"t" * 1000}')), "accept"),
    "msg_17 a longer one than a header may be": (
        but(("Subject", "x" * MAX_HEADER_LENGTH)), "reject:400",
    ),
    "msg_18 octets behind the body": (but(body=b"SUBSCRIBE sip:other@example.com SIP/2.0\r\n\r\n"), "accept"),
    "msg_19 semicolons in a user": (to("sip:user;par=u%40example.net@example.com"), "accept"),
    "msg_20 an unknown transport below": (
        but(("Via", "SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UNKNOWN b;branch=z9hG4bK2, SIP/2.0/TCP c")), "accept",
    ),
    "msg_21 a body of any octets": (but(("Content-Length", "256"), body=bytes(range(256))), "accept"),
    "msg_22 a reason in UTF-8": (but(start="SIP/2.0 200 = 2**3 * 5**2 но"), "accept"),
    "msg_22 no reason": (but(start="SIP/2.0 100 "), "accept"),
    "msg_23 separators that separate nothing in Via": (but(("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,")), "reject:400"),
    "msg_24 a Content-Length beyond the datagram": (but(("Content-Length", "9999"), body=b"short"), "reject:400"),
    "msg_25 a negative Content-Length": (but(("Content-Length", "-999")), "reject:400"),
    "msg_26 an absurd CSeq": (but(("CSeq", "36893488147419103232 SUBSCRIBE")), "reject:400"),
    "msg_26 an absurd port": (to("sip:alice@example.com:99999999999"), "reject:400"),
    "msg_26 absurd numbers in a response": (
        but(("CSeq", "9292394834772304023312 SUBSCRIBE"), start="SIP/2.0 503 Service Unavailable"), "drop",
    ),
    "msg_27 an open quotation mark": (but(("To", '"Mr. J. User <sip:j.user@example.com>')), "reject:400"),
    "msg_28 brackets around the Request-URI": (to("<sip:alice@example.com>"), "reject:400"),
    "msg_28 a space in the Request-URI": (to("sip:alice@example.com; lr"), "reject:400"),
    "msg_28 two spaces in the request line": (but(start="SUBSCRIBE  sip:a@b.example  SIP/2.0"), "reject:400"),
    "msg_28 a space behind the request line": (but(start=f"{START}  "), "accept"),
    "msg_29 headers in the Request-URI": (to("sip:alice@example.com?Route=%3Csip:example.com%3E"), "accept"),
    "msg_30 an odd time zone": (but(("Date", "Fri, 01 Jan 2010 16:00:00 EST")), "accept"),
    "msg_31 a question mark outside of brackets": (but(("To", "sip:a@b?Route=%3Csip:c%3E")), "reject:400"),
    "msg_32 an unknown version": (but(start="SUBSCRIBE sip:alice@example.com SIP/7.0"), "reject:505"),
    "msg_33 another method in CSeq": (but(("CSeq", "7 INVITE")), "reject:400"),
    "msg_34 an absurd status": (but(start="SIP/2.0 4294967301 better not break"), "drop"),
    "msg_35 the bare cookie": (but(("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK")), "accept"),
    "msg_36 no Call-ID": (but(("Call-ID", None)), "reject:400"),
    "msg_36 no From": (but(("From", None)), "reject:400"),
    "msg_36 no To": (but(("To", None)), "reject:400"),
    "msg_37 Max-Forwards 0": (but(("Max-Forwards", "0")), "accept"),
    "msg_38 an unknown scheme": (to("nobodyKnowsThisScheme:totallyopaquecontent"), "reject:416"),
    "msg_38 a known scheme that is not ours": (to("soap.beep://192.0.2.103:3002"), "reject:416"),
    "msg_38 unknown schemes in other places": (
        but(("To", "<isbn:2983792873>"), ("From", "<http://example.com>;tag=3"), ("Contact", "<name:J_Smith>")),
        "accept",
    ),
    "msg_39 two values where one may stand": (more(("CSeq", "8 SUBSCRIBE"), ("Call-ID", "another")), "reject:400"),
    "msg_40 two lengths": (more(("Content-Length", "7")), "reject:400"),
    "msg_42 neither cookie nor tag": (but(("Via", "SIP/2.0/UDP iftgw.example.com"), ("From", "<sip:b@c>")), "accept"),
    "msg_43 IPv6 references": (
        but(
            ("Via", "SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255];branch=z9hG4bK1"),
            ("Contact", "<sip:bob@[2001:db8::1]>"),
            start="SUBSCRIBE sip:alice@[2001:db8::10]:5070 SIP/2.0",
        ),
        "accept",
    ),
    "msg_43 received without brackets": (
        but(("Via", "SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bK1")), "accept",
    ),
    "msg_43 no brackets in a Request-URI": (to("sip:2001:db8::10"), "reject:400"),
    "msg_43 an IPv4 address within one of IPv6": (to("sip:alice@[::ffff:192.0.2.1]"), "accept"),
    "msg_43 three colons": (to("sip:alice@[2001:db8:::192.0.2.1]"), "accept"),
    "msg_50 a line without a colon": (
        wire([*SUBSCRIBE, ("Event presence", "")]).replace(b"presence: ", b"presence"), "reject:400",
    ),
    "msg_51 UTF-8 in names and values": (
        but(("From", '"\u65e5\u672c \u00fc" <sip:b@c>;tag=1'), ("Subject", "\u0416")), "accept",
    ),
    "sec_07 as many headers as there may be": (
        more(*[("X", "y")] * (MAX_HEADERS - len(SUBSCRIBE))), "accept",
    ),
    "sec_07 one more": (more(*[("X", "y")] * (MAX_HEADERS - len(SUBSCRIBE) + 1)), "reject:400"),
}  # fmt: skip


@pytest.mark.parametrize("trait", TRAITS)
def test_msg_51_msg_53_each_trait_of_the_torture_messages_has_its_outcome(trait: str) -> None:
    data, expected = TRAITS[trait]
    assert outcome(data) == expected


def read(trait: str) -> Request:
    message = read_message(TRAITS[trait][0])
    assert isinstance(message, Request)
    message.check()
    return message


READINGS: list[tuple[str, Callable[[Request], object], object]] = [
    ("msg_01 compact names", lambda m: (m.call_id, m.cseq, len(m.vias)), ("c1@192.0.2.10", (7, "SUBSCRIBE"), 1)),
    ("msg_02 a fold in every kind of value", lambda m: (m.from_.tag, m.cseq), ("b1", (7, "SUBSCRIBE"))),
    ("msg_02 a fold in every kind of value", lambda m: m.top_via.branch, "z9hG4bK1"),
    ("msg_06 several values in one row", lambda m: [parse_via(v).host for v in m.vias], ["a", "b", "c"]),
    ("msg_08 quotes and commas in a display name", lambda m: (m.from_.uri, m.from_.tag), ("sip:b@c", "1")),
    ("msg_14 every character of a token", lambda m: m.from_.tag, "_token~1'+`*%!-."),
    ("msg_15 a percent sign in a method", lambda m: m.method, "RE%47IST%45R"),
    ("msg_15 an escaped null in a user", lambda m: parse_uri(m.uri).user, "null-%00-null"),
    ("msg_16 no space before the bracket", lambda m: m.from_.display, "caller"),
    ("msg_17 a long value", lambda m: m.from_.tag, "t" * 1000),
    ("msg_18 octets behind the body", lambda m: m.body, b""),
    (
        "msg_19 semicolons in a user", lambda m: address_of_record(m.uri), "sip:user;par=u%40example.net@example.com",
    ),
    ("msg_20 an unknown transport below", lambda m: parse_via(m.vias[1]).transport, "UNKNOWN"),
    ("msg_21 a body of any octets", lambda m: m.body, bytes(range(256))),
    ("msg_35 the bare cookie", lambda m: m.top_via.has_cookie, False),
    ("msg_42 neither cookie nor tag", lambda m: (m.top_via.has_cookie, m.from_.tag), (False, None)),
    ("msg_43 IPv6 references", lambda m: (parse_uri(m.uri).host, parse_uri(m.uri).port), ("[2001:db8::10]", 5070)),
    ("msg_43 IPv6 references", lambda m: (m.top_via.host, m.top_via.port), ("[2001:db8::9:1]", 6050)),
    ("msg_51 UTF-8 in names and values", lambda m: m.from_.display, '"\u65e5\u672c \u00fc"'),
]  # fmt: skip


@pytest.mark.parametrize(("trait", "reading", "expected"), READINGS, ids=[name for name, _, _ in READINGS])
def test_msg_51_what_is_accepted_is_read_as_it_was_meant(
    trait: str, reading: Callable[[Request], object], expected: object
) -> None:
    assert reading(read(trait)) == expected


def test_msg_09_a_parameter_behind_the_brackets_is_the_headers_and_one_within_the_uris() -> None:
    inside, outside = (request(("Contact", value)) for value in ("<sip:b@c;x=1>", "sip:b@c;x=1"))
    found = [parse_address(split_list(one.headers.all("contact")[0])[0], "Contact") for one in (inside, outside)]
    assert [(one.uri, one.parameters) for one in found] == [("sip:b@c;x=1", {}), ("sip:b@c", {"x": "1"})]
