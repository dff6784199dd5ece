"""What the edge answers by itself (RFC 3261 section 8.2; rows UAS, MSG-05, PUB-23)."""

import pytest

from sip_edge.domain.admission import ALLOW, MAX_URI, Next, Refusal, admit, malformed
from tests.unit.sip_edge.received import request
from vedette.sip.errors import SipError
from vedette.sip.message import Request

LIMIT = 1000


def admitted(received: Request) -> Next | Refusal:
    return admit(received, max_body=LIMIT)


def refusal(received: Request) -> Refusal:
    decision = admitted(received)
    assert isinstance(decision, Refusal), decision
    return decision


@pytest.mark.parametrize(
    ("method", "decision"),
    [
        ("PUBLISH", Next.FORWARD),
        ("SUBSCRIBE", Next.FORWARD),
        ("CANCEL", Next.CANCEL),
        ("ACK", Next.IGNORE),
        ("NOTIFY", 481),
        ("OPTIONS", 200),
        ("INVITE", 405),
        ("BYE", 405),
        ("REGISTER", 405),
        ("MESSAGE", 405),
        ("REFER", 405),
        ("INFO", 405),
        ("PRACK", 405),
        ("UPDATE", 405),
        ("publish", 501),
        ("Subscribe", 501),
        ("ack", 501),
        ("PUBLISHER", 501),
        ("X", 501),
        ("!interesting-Method0123456789_*+`.%indeed'~", 501),
    ],
)
def test_uas_02_uas_03_uas_23_uas_24_and_msg_05_methods(method: str, decision: Next | int) -> None:
    made = admitted(request(method))
    assert (made.status if isinstance(made, Refusal) else made) == decision
    if isinstance(made, Refusal) and made.status == 405:
        assert made.headers == (("Allow", ALLOW),)


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_parameter_registrar_register_is_served_and_allow_says_so(method: str) -> None:
    made = admit(request(method), max_body=LIMIT, registrar=True)
    if method == "REGISTER":
        assert made is Next.FORWARD
    else:
        assert isinstance(made, Refusal)
        assert dict(made.headers)["Allow"] == f"{ALLOW}, REGISTER"


def test_uas_02_allow_names_every_method_that_is_not_refused_as_such() -> None:
    methods = {name.strip() for name in ALLOW.split(",")}
    assert methods == {"CANCEL", "ACK", "OPTIONS", "PUBLISH", "SUBSCRIBE", "NOTIFY"}
    for method in methods:
        made = admitted(request(method))
        assert not isinstance(made, Refusal) or made.status not in {405, 501}


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("sip:alice@example.com", None),
        ("sips:alice@example.com", None),
        ("pres:alice@example.com", None),
        ("sip:127.0.0.1:5060", None),
        ("SIP:alice@example.com;transport=tcp", None),
        ("tel:+1234", 416),
        ("http://example.com/", 416),
        ("urn:service:sos", 416),
        ("nobodyKnowsThisScheme:totallyopaquecontent", 416),
        ("sip:", 400),
        ("sip:alice@", 400),
        ("sip:alice@example.com:0", 400),
        ("sip:alice@example.com:70000", 400),
        ("alice@example.com", 400),
        ("*", 400),
    ],
)
@pytest.mark.parametrize("method", ["PUBLISH", "SUBSCRIBE", "OPTIONS", "NOTIFY"])
def test_uas_04_the_request_uri_is_one_that_we_can_read(method: str, uri: str, status: int | None) -> None:
    made = admitted(request(method, uri))
    if status is not None:
        assert isinstance(made, Refusal)
        assert made.status == status
        assert made.reason == "" if status == 416 else "URI" in made.reason
    else:
        assert not isinstance(made, Refusal) or made.status in {200, 481}


@pytest.mark.parametrize(("length", "refused"), [(MAX_URI, False), (MAX_URI + 1, True), (65_000, True)])
def test_uas_14_a_request_uri_over_the_limit_is_414(length: int, *, refused: bool) -> None:
    uri = "sip:" + "a" * (length - len("sip:@example.com")) + "@example.com"
    made = admitted(request("SUBSCRIBE", uri))
    assert (isinstance(made, Refusal) and made.status == 414) == refused


@pytest.mark.parametrize(
    ("rows", "unsupported"),
    [
        (["100rel"], "100rel"),
        (["eventlist, foo"], "eventlist, foo"),
        (["foo", "bar , baz"], "foo, bar, baz"),
        (["Recipient-List-Subscribe"], "Recipient-List-Subscribe"),
        (["foo,"], "foo"),
        ([""], None),
        ([], None),
    ],
)
def test_uas_07_and_out_15_requirements_that_are_unknown_are_named(rows: list[str], unsupported: str | None) -> None:
    made = admitted(request("SUBSCRIBE", "sip:alice@example.com", *(("Require", row) for row in rows)))
    if unsupported is None:
        assert made is Next.FORWARD
    else:
        assert made == Refusal(420, headers=(("Unsupported", unsupported),))


def test_uas_08_require_is_ignored_in_cancel_and_ack_and_uas_09_proxy_require_everywhere() -> None:
    assert admitted(request("CANCEL", "sip:a@b", ("Require", "foo"))) is Next.CANCEL
    assert admitted(request("ACK", "sip:a@b", ("Require", "foo"))) is Next.IGNORE
    assert admitted(request("PUBLISH", "sip:a@b", ("Proxy-Require", "foo"))) is Next.FORWARD


@pytest.mark.parametrize(("octets", "refused"), [(0, False), (LIMIT, False), (LIMIT + 1, True)])
@pytest.mark.parametrize("method", ["PUBLISH", "SUBSCRIBE"])
def test_uas_13_a_body_over_the_limit_is_413(method: str, octets: int, *, refused: bool) -> None:
    made = admitted(request(method, body=b"x" * octets))
    assert made == (Refusal(413) if refused else Next.FORWARD)


def test_uas_01_the_order_of_the_checks() -> None:
    long_uri = "tel:" + "1" * MAX_URI
    faults = (("Require", "foo"),)
    big = b"x" * (LIMIT + 1)
    assert refusal(request("INVITE", long_uri, *faults, body=big)).status == 405
    assert refusal(request("UNKNOWN", long_uri, *faults, body=big)).status == 501
    assert refusal(request("PUBLISH", long_uri, *faults, body=big)).status == 414
    assert refusal(request("PUBLISH", "tel:1", *faults, body=big)).status == 416
    assert refusal(request("PUBLISH", "sip:a@b", *faults, body=big)).status == 420
    assert refusal(request("PUBLISH", "sip:a@b", body=big)).status == 413
    assert refusal(request("NOTIFY", "sip:a@b", *faults, body=big)).status == 420
    assert refusal(request("NOTIFY", "sip:a@b", body=big)).status == 413


def test_uas_18_uas_19_uas_20_and_pub_23_options_says_what_we_can_do() -> None:
    for instead in ({}, {"To": "<sip:alice@example.com>;tag=ours"}):
        made = refusal(request("OPTIONS", instead=instead))
        assert made.status == 200
        assert dict(made.headers) == {
            "Allow": ALLOW,
            "Allow-Events": "dialog, message-summary, presence",
            "Accept": "application/dialog-info+xml, application/pidf+xml, application/simple-message-summary",
            "Accept-Encoding": "identity",
            "Accept-Language": "en",
            "Supported": "",
        }


@pytest.mark.parametrize("max_forwards", ["0", "1", "255"])
def test_uas_21_max_forwards_does_not_matter_at_the_end_of_the_way(max_forwards: str) -> None:
    assert admitted(request("SUBSCRIBE", instead={"Max-Forwards": max_forwards})) is Next.FORWARD
    assert admitted(request("PUBLISH", instead={"Max-Forwards": None})) is Next.FORWARD


@pytest.mark.parametrize("to", ["<sip:carol@example.org>", "sip:carol@example.org", "<tel:+1234>"])
def test_uas_06_to_may_name_somebody_else(to: str) -> None:
    assert admitted(request("SUBSCRIBE", instead={"To": to})) is Next.FORWARD


def test_uas_26_what_cannot_be_read_is_answered_with_a_reason_that_names_the_field() -> None:
    assert malformed(SipError("Missing Via header")) == Refusal(400, "Missing Via header")
    assert malformed(SipError("Version Not Supported", status=505)) == Refusal(505, "")
