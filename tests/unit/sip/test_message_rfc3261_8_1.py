"""Typed fields of requests and responses and what a request must have (RFC 3261 sections 8.1.1, 8.2 and 20)."""

import json
from typing import Any

import pytest

from tests.unit.sip.messages import changed, outcome, request, response, wire
from tests.vectors import FOLDER, needs_vectors
from vedette.sip.errors import SipError
from vedette.sip.grammar import split_list
from vedette.sip.headers import COMPACT_FORMS, Headers
from vedette.sip.message import Request
from vedette.sip.reader import read_message

FIELDS = [
    # header, value, what becomes of the request
    ("CSeq", "0 SUBSCRIBE", "accept"),
    ("CSeq", "0009\t SUBSCRIBE", "accept"),
    ("CSeq", "2147483647 SUBSCRIBE", "accept"),
    ("CSeq", "2147483648 SUBSCRIBE", "reject:400"),
    ("CSeq", "36893488147419103232 SUBSCRIBE", "reject:400"),
    ("CSeq", "9" * 5000 + " SUBSCRIBE", "reject:400"),
    ("CSeq", "-1 SUBSCRIBE", "reject:400"),
    ("CSeq", "٣ SUBSCRIBE", "reject:400"),
    ("CSeq", "7 PUBLISH", "reject:400"),
    ("CSeq", "7 subscribe", "reject:400"),
    ("CSeq", "7", "reject:400"),
    ("CSeq", "SUBSCRIBE 7", "reject:400"),
    ("CSeq", "7 SUBSCRIBE x", "reject:400"),
    ("Call-ID", "a", "accept"),
    ("Call-ID", """f81d4fae-7dec-11d0"<>[]?{}@[::1]""", "accept"),
    ("Call-ID", "a b", "reject:400"),
    ("Call-ID", "a\u00a0b", "reject:400"),
    ("Call-ID", "", "reject:400"),
    ("Max-Forwards", "0", "accept"),
    ("Max-Forwards", "255", "accept"),
    ("Max-Forwards", "0068", "accept"),
    ("Max-Forwards", "256", "reject:400"),
    ("Max-Forwards", "1" + "0" * 5000, "reject:400"),
    ("Max-Forwards", "-1", "reject:400"),
    ("Max-Forwards", "", "reject:400"),
    ("Max-Forwards", "7 0", "reject:400"),
    ("From", "sip:bob@example.com", "accept"),
    ("From", "<tel:1>;tag=1", "accept"),
    ("From", "<sip:bob@example.com>;tag=1;tag=2", "reject:400"),
    ("From", "", "reject:400"),
    ("To", '"Mr. J. User <sip:j@example.com>', "reject:400"),
    ("To", "<nobody:knows>", "accept"),
    ("Via", "", "reject:400"),
    ("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,", "reject:400"),
    ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1,", "reject:400"),
    ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1, nonsense below", "accept"),
    ("Date", "Fri, 01 Jan 2010 16:00:00 EST", "accept"),
    ("Reply-To", "<<<", "accept"),
]

EXPIRES = [("0", 0), ("600", 600), ("423197357", 423197357), ("4294967295", 4294967295), (None, None)]
BAD_EXPIRES = ["abc", "", "-1", "4294967296", "1.5", "10000000000000000000000000", "Thu, 01 Dec 1994 16:00:00 GMT"]

RETRY_AFTER = [
    ("5", 5), ("5;duration=3600", 5), ("5 (I'm in a meeting)", 5), ("18000 ;duration=3600", 18000),
    ("soon", None), ("-1", None), ("", None), ("9" * 30, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), FIELDS)
def test_msg_11_23_26_27_33_37_42_the_fields_of_a_request(name: str, value: str, expected: str) -> None:
    assert outcome(wire(changed((name, value)))) == expected


def test_msg_32_the_version_is_judged_before_anything_else() -> None:
    message = read_message(wire(changed(("CSeq", None)), start="SUBSCRIBE sip:a@b SIP/3.0"))
    assert isinstance(message, Request)
    with pytest.raises(SipError) as caught:
        message.check()
    assert caught.value.status == 505


@pytest.mark.parametrize(("value", "seconds"), EXPIRES)
def test_msg_26_expires(value: str | None, seconds: int | None) -> None:
    assert request(("Expires", value)).expires == seconds


@pytest.mark.parametrize("value", BAD_EXPIRES)
def test_msg_26_52_expires_that_is_no_number_is_400_where_it_is_read(value: str) -> None:
    message = request(("Expires", value))
    message.check()
    with pytest.raises(SipError, match="Expires") as caught:
        _ = message.expires
    assert caught.value.status == 400


def values_of_ersip(header: str) -> list[dict[str, Any]]:
    path = FOLDER / "headers" / "event-headers.json"
    cases = json.loads(path.read_text(encoding="utf-8"))["values"] if path.exists() else []
    return [case for case in cases if case["header"] == header]


@needs_vectors
@pytest.mark.parametrize("case", values_of_ersip("Expires"), ids=lambda case: case["value"] or "empty")
def test_msg_26_52_the_expires_that_ersip_reads_or_refuses(case: dict[str, Any]) -> None:
    message = request(("Expires", case["value"]))
    if case["expected"] == "reject":
        with pytest.raises(SipError, match="Expires"):
            _ = message.expires
    else:
        assert message.expires == int(case["value"])


@needs_vectors
@pytest.mark.parametrize("case", values_of_ersip("Allow-Events"), ids=lambda case: case["value"])
def test_msg_06_the_lists_that_sofia_reads(case: dict[str, Any]) -> None:
    [row] = request(("u", case["value"])).headers.all("allow-events")
    assert split_list(row) == case["parsed"]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER)
def test_retry_after_of_a_response(value: str, seconds: int | None) -> None:
    assert response("SIP/2.0 503 Service Unavailable", ("Retry-After", value)).retry_after == seconds


def test_a_response_without_retry_after_says_nothing_of_when() -> None:
    assert response("SIP/2.0 503 Service Unavailable").retry_after is None


@pytest.mark.parametrize(
    ("via", "branch"),
    [
        ("SIP/2.0/UDP p;branch=z9hG4bKp, SIP/2.0/UDP c;branch=z9hG4bKc", "z9hG4bKc"),
        ("SIP/2.0/UDP c;branch=z9hG4bKc", "z9hG4bKc"),
        ("SIP/2.0/UDP c", ""),
    ],
)
def test_the_branch_of_the_sender_is_that_of_the_bottom_via(via: str, branch: str) -> None:
    assert request(("Via", via)).client_branch == branch


def test_a_bottom_via_that_cannot_be_read_is_told_where_its_branch_is_asked_for() -> None:
    with pytest.raises(SipError, match="Via"):
        _ = request(("Via", "SIP/2.0/UDP p;branch=z9hG4bKp, nonsense")).client_branch


@needs_vectors
def test_msg_01_every_registered_compact_form_is_known_and_no_other() -> None:
    table = json.loads((FOLDER / "golden" / "header-format" / "rfc3261-7.3.1.json").read_text(encoding="utf-8"))
    registered = {short: long.lower() for short, (long, _) in table["compact_forms"].items()}
    assert registered == COMPACT_FORMS
    assert not {name.lower() for name in table["no_compact_form"]} & set(COMPACT_FORMS.values())


def golden(key: str) -> list[list[str]]:
    path = FOLDER / "golden" / "header-format" / "rfc3261-7.3.1.json"
    return list(json.loads(path.read_text(encoding="utf-8"))[key]) if path.exists() else []


def values(rows: str) -> dict[str, list[str]]:
    """What a message with these rows says, list headers value by value."""
    message = read_message(f"OPTIONS sip:a@b SIP/2.0\r\n{rows}\r\n\r\n".encode())
    return {
        name: [item.lower() if name in {"contact", "content-disposition"} else item for item in split(name, value)]
        for name, value in message.headers.rows.items()
    }


def split(name: str, rows: list[str]) -> list[str]:
    return [item for row in rows for item in (split_list(row) if name == "route" else [row])]


@needs_vectors
@pytest.mark.parametrize("same", golden("equivalent"), ids=lambda same: same[0][:20])
def test_msg_02_03_04_06_rows_that_rfc_3261_calls_equivalent(same: list[str]) -> None:
    assert all(values(rows) == values(same[0]) for rows in same)


@needs_vectors
@pytest.mark.parametrize("other", golden("not_equivalent"), ids=lambda other: other[0][:20])
def test_msg_04_06_rows_that_rfc_3261_calls_different(other: list[str]) -> None:
    assert len({str(values(rows)) for rows in other}) == len(other)


def test_msg_39_a_header_is_single_required_or_all() -> None:
    headers = Headers()
    headers.add("Event", "presence")
    headers.add("k", "a")
    headers.add("SUPPORTED", "b")
    assert headers.all("supported") == ["a", "b"]
    assert headers.get("supported") == "a"
    assert headers.single("event") == headers.required("event") == "presence"
    assert (headers.all("to"), headers.get("to"), headers.single("to")) == ([], None, None)
    for read in (headers.single, headers.required):
        with pytest.raises(SipError, match="More than one Supported"):
            read("supported")
    headers.add("Empty", "")
    for name in ("to", "empty"):
        with pytest.raises(SipError, match="Missing"):
            headers.required(name)
    assert headers.single("empty") == ""
