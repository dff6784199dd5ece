"""Via and where responses go (RFC 3261 sections 18.2 and 20.42, RFC 3581, RFC 5118)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.messages import request
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.transaction.layer import response_flow
from vedette.sip.via import parse_via

VIAS: list[tuple[str, str, str, int | None, dict[str, str | None]]] = [
    # value, transport, host, port, parameters
    ("SIP/2.0/UDP host", "UDP", "host", None, {}),
    ("SIP/2.0/UDP host:5070", "UDP", "host", 5070, {}),
    ("sip/2.0/udp host", "UDP", "host", None, {}),
    ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport", "UDP", "192.0.2.1", None, {"branch": "z9hG4bK1", "rport": None}),
    ("SIP / 2.0 / UDP\thost : 5070 ; BRANCH = z9hG4bK1", "UDP", "host", 5070, {"branch": "z9hG4bK1"}),
    ("SIP/2.0/UNKNOWN t4.example.com;x", "UNKNOWN", "t4.example.com", None, {"x": None}),
    ("SIP/2.0/WSS df7jal23ls0d.invalid", "WSS", "df7jal23ls0d.invalid", None, {}),
    ("SIP/2.0/UDP [2001:db8::9:1]", "UDP", "[2001:db8::9:1]", None, {}),
    ("SIP/2.0/UDP [2001:db8::9:1]:5070", "UDP", "[2001:db8::9:1]", 5070, {}),
    ("SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bK1", "UDP", "2001:db8::9:1", None, {"branch": "z9hG4bK1"}),
    ("SIP/2.0/UDP 1:2:3", "UDP", "1:2:3", None, {}),
    ("SIP/2.0/UDP h;received=[2001:db8::1];maddr=224.0.1.75;ttl=1", "UDP", "h", None,
     {"received": "[2001:db8::1]", "maddr": "224.0.1.75", "ttl": "1"}),
]  # fmt: skip

BAD_VIAS = [
    "", "SIP/2.0", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/2.0/UDPhost", "SIP/2.0 UDP host", "SIP/3.0/UDP host",
    "HTTP/2.0/UDP host", "SIP/2.0/UDP host:", "SIP/2.0/UDP host:0", "SIP/2.0/UDP host:65536",
    "SIP/2.0/UDP host:-1", "SIP/2.0/UDP host host2", "SIP/2.0/UDP host;;", "SIP/2.0/UDP host;branch=a;branch=b",
    'SIP/2.0/UDP host;x="open', "SIP/2.0/UDP [2001:db8::9:1", "SIP/2.0/UDP 2001:", "SIP/2.0/UDP ho<st",
    "SIP/2.0/UDP host:123456", "SIP/2.0/UDP h,SIP/2.0/UDP i", "SIP/2.0/UDP ;rport",
    "SIP/2.0/UDP h" + " " * 2000 + "x", "SIP/2.0/UDP " + ":" * 2000 + "x",
]  # fmt: skip

SOURCES = [
    # sent-by and parameters of the Via, then the Via of the response to a packet from 198.51.100.7:40000
    ("198.51.100.7;branch=z9hG4bK1", "198.51.100.7;branch=z9hG4bK1"),
    ("198.51.100.7:5070;branch=z9hG4bK1", "198.51.100.7:5070;branch=z9hG4bK1"),
    ("192.0.2.1;branch=z9hG4bK1", "192.0.2.1;branch=z9hG4bK1;received=198.51.100.7"),
    ("host.example.com", "host.example.com;received=198.51.100.7"),
    ("h;rport;branch=z9hG4bK1", "h;rport=40000;branch=z9hG4bK1;received=198.51.100.7"),
    ("198.51.100.7;branch=z9hG4bK1;rport", "198.51.100.7;branch=z9hG4bK1;rport=40000;received=198.51.100.7"),
    ("198.51.100.7;rport=", "198.51.100.7;rport=40000;received=198.51.100.7"),
    ("198.51.100.7 ; RPORT ; branch=z9hG4bK1", "198.51.100.7;rport=40000; branch=z9hG4bK1;received=198.51.100.7"),
    ('h;x=";rport;received=1";received;rport', 'h;x=";rport;received=1";rport=40000;received=198.51.100.7'),
    ("h;rport=9;branch=z9hG4bK1", "h;rport=9;branch=z9hG4bK1;received=198.51.100.7"),
    ("h;received=203.0.113.9;branch=z9hG4bK1", "h;branch=z9hG4bK1;received=198.51.100.7"),
    ("h;Received=[2001:db8::1];rport", "h;rport=40000;received=198.51.100.7"),
    ("h;maddr=203.0.113.9;unknown=x;alias", "h;maddr=203.0.113.9;unknown=x;alias;received=198.51.100.7"),
]

PACKET = Flow("udp", "198.51.100.7", 40000)
STREAM = Flow("tcp", "2001:db8::1", 40000, 3)
FLOWS = [
    # top Via, where the packet came from, where the response goes
    ("SIP/2.0/UDP h:5070;rport", PACKET, PACKET),
    ("SIP/2.0/UDP h:5070;rport=40000", PACKET, PACKET),
    ("SIP/2.0/UDP h:5070", PACKET, Flow("udp", "198.51.100.7", 5070)),
    ("SIP/2.0/UDP h", PACKET, Flow("udp", "198.51.100.7", 5060)),
    ("SIP/2.0/UDP h:5070;received=203.0.113.9", PACKET, Flow("udp", "198.51.100.7", 5070)),
    ("SIP/2.0/UDP h;maddr=203.0.113.9", PACKET, Flow("udp", "198.51.100.7", 5060)),
    ("SIP/2.0/UDP [2001:db8::9]:5070", Flow("udp", "2001:db8::1", 40000), Flow("udp", "2001:db8::1", 5070)),
    ("SIP/2.0/TCP h:5070", STREAM, STREAM),
    ("SIP/2.0/TCP h:5070;rport;maddr=203.0.113.9", STREAM, STREAM),
]


@pytest.mark.parametrize(("value", "transport", "host", "port", "parameters"), VIAS)
def test_msg_20_43_vias(
    value: str, transport: str, host: str, port: int | None, parameters: dict[str, str | None]
) -> None:
    via = parse_via(value)
    assert (via.text, via.transport, via.host, via.port, via.parameters) == (value, transport, host, port, parameters)


@pytest.mark.parametrize("value", BAD_VIAS)
def test_msg_13_23_26_vias_that_are_malformed(value: str) -> None:
    with pytest.raises(SipError, match="Via") as caught:
        parse_via(value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "sent_by"),
    [
        ("SIP/2.0/UDP Host.Example.COM", "host.example.com:5060"),
        ("SIP/2.0/TCP h:5070", "h:5070"),
        ("SIP/2.0/TLS h", "h:5061"),
        ("SIP/2.0/WS h", "h:80"),
        ("SIP/2.0/WSS h", "h:443"),
        ("SIP/2.0/UNKNOWN h", "h:5060"),
        ("SIP/2.0/UDP [2001:DB8::1]", "[2001:db8::1]:5060"),
    ],
)
def test_txn_04_sent_by_is_compared_without_case_and_with_its_port(value: str, sent_by: str) -> None:
    assert parse_via(value).sent_by == sent_by


@pytest.mark.parametrize(
    ("parameters", "branch", "cookie"),
    [
        (";branch=z9hG4bK1", "z9hG4bK1", "cookie"),
        (";branch=z9hG4bK", "z9hG4bK", ""),
        (";branch=Z9HG4BK1", "Z9HG4BK1", ""),
        (";branch=390skdjuw", "390skdjuw", ""),
        (";branch=", "", ""),
        (";branch", "", ""),
        ("", "", ""),
    ],
)
def test_msg_35_txn_05_only_a_cookie_with_something_behind_it_is_unique(
    parameters: str, branch: str, cookie: str
) -> None:
    via = parse_via(f"SIP/2.0/UDP h{parameters}")
    assert (via.branch, via.has_cookie) == (branch, bool(cookie))


@pytest.mark.parametrize(("sent", "answered"), SOURCES)
def test_trn_02_03_28_the_top_via_of_a_response_names_the_source(sent: str, answered: str) -> None:
    assert parse_via(f"SIP/2.0/UDP {sent}").with_source("198.51.100.7", 40000) == f"SIP/2.0/UDP {answered}"


def test_trn_02_25_an_ipv6_sent_by_that_is_the_source_gets_no_received() -> None:
    via = parse_via("SIP/2.0/UDP [2001:DB8::9:1]:5070;branch=z9hG4bK1")
    assert via.with_source("2001:db8::9:1", 5070) == via.text
    assert via.with_source("2001:db8::9:2", 5070) == f"{via.text};received=2001:db8::9:2"


@pytest.mark.parametrize(("via", "source", "target"), FLOWS)
def test_trn_04_05_06_07_where_the_response_goes(via: str, source: Flow, target: Flow) -> None:
    """With TRN-06, maddr is not obeyed: a stranger could point our answers at others."""
    assert response_flow(request(("Via", via)), source) == target


TOKEN = st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True)
PARAMETERS = st.dictionaries(TOKEN.map(str.lower), st.none() | TOKEN, max_size=5)


@given(PARAMETERS, st.sampled_from(["rport", "received", "branch", "x"]), st.integers(1, 65535))
def test_trn_28_a_via_keeps_every_parameter_but_the_two_of_the_source(
    parameters: dict[str, str | None], extra: str, port: int
) -> None:
    sent = {**parameters, extra: None}
    text = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in sent.items())
    answered = parse_via(parse_via(f"SIP/2.0/UDP h{text}").with_source("198.51.100.7", port))
    source = {"received": "198.51.100.7", **({"rport": str(port)} if sent.get("rport", "9") is None else {})}
    assert answered.parameters == {**sent, **source}
