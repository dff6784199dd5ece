"""What the valid messages of RFC 4475 and RFC 5118 say, value by value."""

import pytest

from tests.unit.sip.messages import read_all
from tests.vectors import FOLDER, needs_vectors
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import TransactionLayer, server_key
from vedette.sip.transaction.timers import Timers
from vedette.sip.uri import address_of_record, parse_uri
from vedette.sip.via import Via, parse_via

pytestmark = needs_vectors


def octets(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def torture(name: str) -> Request:
    message = read_message(octets(f"rfc4475/{name}.dat"))
    assert isinstance(message, Request)
    return message


def test_msg_02_03_04_08_16_the_short_tortuous_invite_is_read_to_its_end() -> None:
    invite = torture("wsinv")
    assert read_all(invite) == []
    assert invite.to.uri == "sip:vivekg@chair-dnrc.example.com"
    assert invite.to.tag == "1918181833n"
    assert invite.from_.display == r'"J Rosenberg \\\""'
    assert (invite.from_.uri, invite.from_.tag) == ("sip:jdrosen@example.com", "98asjd8")
    assert invite.cseq == (9, "INVITE")
    vias = [parse_via(value) for value in invite.vias]
    assert [(via.transport, via.host, via.branch, via.has_cookie) for via in vias] == [
        ("UDP", "192.0.2.2", "390skdjuw", False),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8", True),
        ("UDP", "192.168.255.111", "z9hG4bK30239", True),
    ]
    assert invite.client_branch == "z9hG4bK30239"
    assert invite.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    contact = parse_address(invite.headers.required("contact"), "Contact")
    assert contact.parameters == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert len(invite.body) == 150


def test_msg_14_a_wide_range_of_characters_is_read_and_kept() -> None:
    request = torture("intmeth")
    assert read_all(request) == []
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.to.display == '"BEL:\\\x07 NUL:\\\uf700 DEL:\\\x7f"'
    assert request.from_.parameters["fromparam''~+*_!.-%"] == "работающий"
    assert request.from_.tag == "_token~1'+`*%!-."
    assert request.call_id == """intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}{"""


@pytest.mark.parametrize(
    ("name", "user", "host"),
    [
        ("esc01", "sips%3Auser%40example.com", "example.net"),
        ("semiuri", "user;par=u%40example.net", "example.com"),
        ("esc02", None, "registrar.example.com"),
    ],
)
def test_msg_15_19_the_user_part_of_a_request_uri_is_kept(name: str, user: str | None, host: str) -> None:
    uri = parse_uri(torture(name).uri)
    assert (uri.user, uri.host) == (user, host)


def test_msg_15_escapes_are_decoded_for_comparison_and_a_null_cuts_nothing() -> None:
    assert address_of_record(torture("esc01").to.uri) == "sip:user@example.com"
    register = torture("escnull")
    assert address_of_record(register.to.uri) == "sip:null-%00-null@example.com"
    contacts = [address_of_record(parse_address(row, "Contact").uri) for row in register.headers.all("contact")]
    assert contacts == ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]


def test_msg_15_a_percent_sign_in_a_method_or_header_name_is_no_escape() -> None:
    request = torture("esc02")
    assert request.method == "RE%47IST%45R"
    assert len(request.headers.all("contact")) == 2


def test_msg_09_a_parameter_outside_the_brackets_is_the_headers_inside_the_uris() -> None:
    outside = parse_address(torture("cparam01").headers.required("contact"), "Contact")
    inside = parse_address(torture("cparam02").headers.required("contact"), "Contact")
    assert (outside.uri, outside.parameters) == ("sip:+19725552222@gw1.example.net", {"unknownparam": None})
    assert (inside.uri, inside.parameters) == ("sip:+19725552222@gw1.example.net;unknownparam", {})


def test_msg_31_a_question_mark_outside_brackets_in_a_contact_is_refused() -> None:
    with pytest.raises(SipError, match="Contact"):
        parse_address(torture("regbadct").headers.required("contact"), "Contact")
    inside = parse_address(torture("regescrt").headers.required("contact"), "Contact")
    assert inside.uri == "sip:user@example.com?Route=%3Csip:sip.example.com%3E"


def test_msg_17_long_values_are_kept_whole() -> None:
    request = torture("longreq")
    assert read_all(request) == []
    assert len(request.to.uri) + len(request.to.display) > 400
    assert len(request.vias) == 34
    assert len(request.call_id) == 141


def test_msg_18_octets_behind_the_body_of_a_datagram_are_no_second_message() -> None:
    register = torture("dblreq")
    assert (register.method, register.body) == ("REGISTER", b"")


def test_msg_20_unknown_transports_below_the_top_via_are_kept() -> None:
    request = torture("transports")
    assert [parse_via(value).transport for value in request.vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    assert request.client_branch == "z9hG4bK0a9idfnee"


def test_msg_21_a_body_with_binary_parts_is_octet_exact() -> None:
    data = octets("rfc4475/mpart01.dat")
    message = torture("mpart01")
    assert message.body == data[data.index(b"\r\n\r\n") + 4 :]
    assert b"\x00" in message.body
    assert str(len(message.body)) == message.headers.get("content-length")


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("noreason", 100, ""),
        ("unreason", 200, "= 2**3 * 5**2 но сто девяносто девять - простое"),
    ],
)
def test_msg_22_responses_with_an_odd_or_empty_reason_are_read(name: str, status: int, reason: str) -> None:
    message = read_message(octets(f"rfc4475/{name}.dat"))
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (status, reason)
    assert message.top_via.has_cookie


def test_msg_35_the_bare_cookie_makes_no_two_requests_one_transaction() -> None:
    data = octets("rfc4475/badbranch.dat")
    first, again = read_message(data), read_message(data)
    other = read_message(data.replace(b"Call-ID: badbranch", b"Call-ID: another"))
    assert isinstance(first, Request)
    assert isinstance(again, Request)
    assert isinstance(other, Request)
    assert not first.top_via.has_cookie
    layer, source = TransactionLayer(Timers()), Flow("udp", "192.0.2.1", 5060)
    assert layer.receive_request(first, source, 0.0) is not None
    assert layer.receive_request(other, source, 0.0) is not None
    assert layer.receive_request(again, source, 0.0) is None


def test_msg_42_a_request_of_rfc_2543_is_processed_and_matched_by_its_fields() -> None:
    invite = torture("inv2543")
    assert read_all(invite) == []
    assert invite.from_.tag is None
    assert not invite.top_via.has_cookie
    assert server_key(invite).count("\n") == 5
    assert invite.body.startswith(b"v=0")


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("ipv6-good", "[2001:db8::9:1]", None),
        ("mult-ip-in-header", "[2001:db8::9:1]", 6050),
        ("ipv4-mapped-ipv6", "[::ffff:192.0.2.10]", 19823),
    ],
)
def test_msg_43_trn_25_ipv6_references_in_via_are_read(name: str, host: str, port: int | None) -> None:
    request = read_message(octets(f"rfc5118/{name}.sip"))
    assert isinstance(request, Request)
    assert read_all(request) == []
    assert (request.top_via.host, request.top_via.port) == (host, port)


def test_msg_43_the_port_of_an_ipv6_reference_stands_behind_the_bracket() -> None:
    def request_uri(name: str) -> tuple[str, int | None]:
        message = read_message(octets(f"rfc5118/{name}.sip"))
        assert isinstance(message, Request)
        uri = parse_uri(message.uri)
        return uri.host, uri.port

    assert request_uri("port-ambiguous") == ("[2001:db8::10:5070]", None)
    assert request_uri("port-unambiguous") == ("[2001:db8::10]", 5070)


def test_msg_43_received_is_read_with_and_without_brackets() -> None:
    def received(name: str) -> list[str | None]:
        message = read_message(octets(f"rfc5118/{name}.sip"))
        assert isinstance(message, Request)
        vias: list[Via] = [parse_via(value) for value in message.vias]
        return [via.parameters.get("received") for via in vias]

    assert "2001:db8::9:255" in received("via-received-param-no-delim")
    assert "[2001:db8::9:255]" in received("via-received-param-with-delim")
