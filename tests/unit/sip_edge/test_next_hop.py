"""Where a NOTIFY goes (RFC 3261 section 12.2.1.1; rows SUB-32, DLG; clients.md 13)."""

import pytest

from sip_edge.domain.next_hop import AUTOMATIC, Destination, NatRules, choose_destination, may_go_over_tcp
from vedette.sip.flow import FORWARDED, Flow
from vedette.sip.route import route_in_dialog

UDP = Flow("udp", "203.0.113.7", 5062)
TCP = Flow("tcp", "203.0.113.7", 40000, 3)


TLS = Flow("tls", "203.0.113.7", 40001, 4)
WS = Flow("ws", "203.0.113.7", 40002, 5)
WSS = Flow("wss", "203.0.113.7", 40003, 6)
SECURE_NAME = Destination("tls", "p.example", 5061, finds_port=True, finds_transport=True)


ALWAYS, OFF = NatRules("always"), NatRules("off")


def destination(
    target: str, flow: Flow, *routes: str, flow_is_open: bool = False, nat: NatRules = AUTOMATIC
) -> Destination | None:
    return choose_destination(route_in_dialog(target, routes), flow, flow_is_open=flow_is_open, nat=nat)


@pytest.mark.parametrize(
    ("target", "flow", "routes", "expected"),
    [
        ("sip:bob@203.0.113.7:5062", UDP, (), Destination("udp", "203.0.113.7", 5062)),
        ("sip:bob@203.0.113.8", UDP, (), Destination("udp", "203.0.113.8", 5060)),
        ("sip:bob@phone.example.net:5070", UDP, (), Destination("udp", "phone.example.net", 5070)),
        ("sip:bob@[2001:db8::7]:5070", UDP, (), Destination("udp", "2001:db8::7", 5070)),
        ("sip:bob@203.0.113.7;transport=TCP", UDP, (), Destination("tcp", "203.0.113.7", 5060)),
        ("sip:bob@203.0.113.7;transport=udp", TCP, (), Destination("udp", "203.0.113.7", 5060)),
        ("sip:bob@203.0.113.7:5080", TCP, (), Destination("tcp", "203.0.113.7", 5080)),
        ("sip:203.0.113.7:49725;transport=udp", UDP, (), Destination("udp", "203.0.113.7", 49725)),
        ("sip:bob@203.0.113.7:5060;ob", UDP, (), Destination("udp", "203.0.113.7", 5060)),
        ("sip:bob@203.0.113.7;transport=sctp", TCP, (), Destination("udp", "203.0.113.7", 5060)),
        ("sip:bob@203.0.113.7;transport=tls", UDP, (), Destination("tls", "203.0.113.7", 5061)),
        ("sip:bob@203.0.113.7:5071", TLS, (), Destination("tls", "203.0.113.7", 5071)),
        ("sip:bob@203.0.113.7", TLS, (), Destination("tls", "203.0.113.7", 5061)),
        ("sip:bob@203.0.113.7;transport=udp", WSS, (), Destination("udp", "203.0.113.7", 5060)),
    ],
)
def test_sub_32_without_a_route_set_it_goes_to_the_contact(
    target: str, flow: Flow, routes: tuple[str, ...], expected: Destination
) -> None:
    assert destination(target, flow, *routes) == expected


@pytest.mark.parametrize(
    "flow", [UDP, UDP._replace(connection=FORWARDED), TCP, TLS, Flow("udp", "2001:db8::7", 5060)]
)
@pytest.mark.parametrize("host", ["203.0.113.7", "203.0.113.7:5080", "203.0.113.8", "[2001:db8::7]", "p.invalid"])
@pytest.mark.parametrize("scheme", ["sip", "sips"])
@pytest.mark.parametrize("nat", [AUTOMATIC, ALWAYS, OFF])
def test_sub_32_the_short_way_to_the_usual_contact_leads_to_where_the_long_one_does(
    scheme: str, host: str, flow: Flow, nat: NatRules
) -> None:
    contact = f"{scheme}:bob@{host}"
    assert destination(contact, flow, nat=nat) == destination(f"{contact};x", flow, nat=nat)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (
            "<sip:proxy.example.net;lr>",
            Destination("udp", "proxy.example.net", 5060, finds_port=True, finds_transport=True),
        ),
        ("<sip:proxy.example.net;lr;transport=tcp>", Destination("tcp", "proxy.example.net", 5060, finds_port=True)),
        ("<sip:proxy.example.net:5070;lr>", Destination("udp", "proxy.example.net", 5070)),
        ("<sip:proxy.example.net;maddr=198.51.100.1;lr>", Destination("udp", "198.51.100.1", 5060)),
        ("<sip:198.51.100.1:5090;lr;transport=tcp>", Destination("tcp", "198.51.100.1", 5090)),
        ("<sip:198.51.100.1>", Destination("udp", "198.51.100.1", 5060)),
        ("<sip:10.0.0.1;lr>", Destination("udp", "10.0.0.1", 5060)),
    ],
)
def test_dlg_a_route_set_comes_before_the_contact_even_with_a_private_address(
    route: str, expected: Destination
) -> None:
    assert destination("sip:bob@203.0.113.7:5062", UDP, route, "<sip:second.example.net;lr>") == expected


@pytest.mark.parametrize(
    ("target", "routes", "expected"),
    [
        ("sip:bob@8.8.8.8:5062", (), True),
        ("sip:bob@8.8.4.4", (), True),
        ("sip:bob@phone.example.net", (), True),
        ("sip:bob@8.8.8.8:5062;transport=udp", (), False),
        ("sip:bob@10.0.0.7:5062", (), False),
        ("sip:bob@8.8.8.8:5062;maddr=10.0.0.7", (), False),
        ("sip:bob@10.0.0.7:5062;maddr=8.8.8.8", (), True),
        ("sip:bob@a.invalid", (), False),
        ("sip:bob@8.8.8.9:5062", (), True),
        ("sip:bob@10.0.0.7:5062", ("<sip:198.51.100.1;lr>",), True),
        ("sip:bob@8.8.8.8:5062", ("<sip:198.51.100.1;lr;transport=UDP>",), False),
        ("sip:bob@8.8.8.8:5062;transport=udp", ("<sip:10.0.0.1;lr>",), True),
    ],
)
def test_trn_18_what_is_too_large_goes_over_tcp_unless_the_next_hop_names_udp_or_is_behind_a_nat(
    target: str,
    routes: tuple[str, ...],
    expected: bool,  # noqa: FBT001
) -> None:
    assert may_go_over_tcp(route_in_dialog(target, routes), Flow("udp", "8.8.8.8", 5062)) is expected


@pytest.mark.parametrize("target", ["sip:bob@203.0.113.7:5080", "sip:bob@10.0.0.7", "sip:bob@a.invalid"])
@pytest.mark.parametrize("routes", [(), ("<sip:proxy.example.net;lr>",)])
def test_clients_13_and_out_02_an_open_connection_is_used_whatever_contact_and_route_say(
    target: str, routes: tuple[str, ...]
) -> None:
    assert destination(target, TCP, *routes, flow_is_open=True) == Destination("tcp", "203.0.113.7", 40000, 3)


@pytest.mark.parametrize("flow", [TLS, WS, WSS])
def test_out_12_and_trn_20_so_is_one_of_tls_or_websocket(flow: Flow) -> None:
    expected = Destination(flow.transport, flow.host, flow.port, flow.connection)
    for target in ("sip:bob@df7jal23ls0d.invalid;transport=ws", "sip:bob@10.0.0.7:5061;transport=tls"):
        assert destination(target, flow, flow_is_open=True) == expected


@pytest.mark.parametrize("flow", [WS, WSS, TCP, UDP])
@pytest.mark.parametrize("transport", ["ws", "wss", "WS"])
def test_out_12_nobody_connects_to_a_browser(flow: Flow, transport: str) -> None:
    assert destination(f"sip:bob@203.0.113.7;transport={transport}", flow) is None
    assert destination("sip:bob@203.0.113.7", flow, f"<sip:198.51.100.1;transport={transport};lr>") is None


@pytest.mark.parametrize("flow", [WS, WSS])
def test_out_12_a_browser_whose_socket_is_gone_has_no_other_address(flow: Flow) -> None:
    assert destination("sip:bob@df7jal23ls0d.invalid", flow) is None
    assert destination("sip:bob@203.0.113.7:5080", flow) is None


@pytest.mark.parametrize("flow", [TCP, TLS])
@pytest.mark.parametrize("host", ["192.168.1.7", "a.invalid", "100.64.1.2"])
def test_out_05_a_stream_from_behind_nat_that_is_gone_has_no_other_address(flow: Flow, host: str) -> None:
    flow = flow._replace(host="9.9.9.9")
    assert destination(f"sip:bob@{host}:5080;transport={flow.transport}", flow) is None


@pytest.mark.parametrize(
    ("target", "flow", "routes", "expected"),
    [
        ("sips:bob@203.0.113.7", UDP, (), Destination("tls", "203.0.113.7", 5061)),
        ("sips:bob@203.0.113.7:5071;transport=tcp", UDP, (), Destination("tls", "203.0.113.7", 5071)),
        ("sips:bob@203.0.113.7;transport=udp", TCP, (), Destination("tls", "203.0.113.7", 5061)),
        ("sip:bob@203.0.113.7", UDP, ("<sips:p.example;lr>",), SECURE_NAME),
        ("sips:bob@203.0.113.7", UDP, ("<sip:198.51.100.1;lr>",), Destination("tls", "198.51.100.1", 5061)),
        ("sips:bob@203.0.113.7;transport=ws", WSS, (), None),
    ],
)
def test_trn_24_a_sips_uri_is_reached_by_tls_or_not_at_all(
    target: str, flow: Flow, routes: tuple[str, ...], expected: Destination | None
) -> None:
    assert destination(target, flow, *routes) == expected


@pytest.mark.parametrize("flow", [TCP, WS])
def test_trn_24_an_open_connection_without_tls_is_no_way_to_a_sips_uri(flow: Flow) -> None:
    where = destination("sips:bob@203.0.113.7:5071", flow, flow_is_open=True)
    assert where == (Destination("tls", "203.0.113.7", 5071))


def test_clients_13_a_closed_connection_is_made_anew_to_the_port_that_the_contact_names() -> None:
    assert destination("sip:bob@203.0.113.7:5080;transport=tcp", TCP) == Destination("tcp", "203.0.113.7", 5080)


@pytest.mark.parametrize(
    ("contact", "source", "behind_nat"),
    [
        ("10.0.0.7", "9.9.9.9", True),
        ("192.168.1.2", "9.9.9.9", True),
        ("172.16.0.1", "9.9.9.9", True),
        ("[fd00::1]", "2001:4860::7", True),
        ("10.0.0.7", "10.0.0.7", False),
        ("[FD00:0::7]", "fd00::7", False),
        ("10.0.0.7", "10.0.0.8", True),
        ("10.0.0.7", "192.168.1.2", True),
        ("172.17.0.2", "192.168.1.2", True),
        ("192.168.1.2", "127.0.0.1", True),
        ("192.168.1.2", "fd00::1", True),
        ("[fd00::7]", "fd00::8", True),
        ("[fe80::7]", "fd00::8", True),
        ("169.254.3.4", "10.0.0.8", True),
        ("0.0.0.0", "10.0.0.8", True),
        ("[::]", "fd00::8", True),
        ("198.51.100.7", "198.51.100.7", False),
        ("8.8.8.8", "9.9.9.9", False),
        ("100.64.1.2", "9.9.9.9", True),
        ("100.64.1.2", "100.64.1.3", True),
        ("203.0.113.7", "198.51.100.7", False),
        ("8.8.8.8", "10.0.0.8", False),
        ("a1b2c3.invalid", "9.9.9.9", True),
        ("A.INVALID", "10.0.0.8", True),
        ("phone.example.net", "9.9.9.9", False),
        ("127.0.0.1", "10.0.0.8", True),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_sub_32_a_contact_that_cannot_be_reached_from_here_is_answered_where_the_request_came_from(
    contact: str, source: str, *, behind_nat: bool
) -> None:
    where = destination(f"sip:bob@{contact}:5070", Flow("udp", source, 40000))
    assert where == (
        Destination("udp", source, 40000) if behind_nat else Destination("udp", contact.strip("[]"), 5070)
    )


SOURCE = Flow("udp", "10.0.0.8", 40000)
AT_SOURCE = Destination("udp", "10.0.0.8", 40000)


@pytest.mark.parametrize("target", ["sip:bob@192.168.1.7:5070", "sip:bob@8.8.8.8:5070", "sip:bob@10.0.0.8:5070"])
@pytest.mark.parametrize(
    ("flow", "routes", "nat"),
    [
        (SOURCE, (), OFF),
        (SOURCE, ("<sip:10.9.9.9;lr>",), ALWAYS),
        (SOURCE, ("<sip:10.9.9.9;lr>",), AUTOMATIC),
        (SOURCE._replace(connection=FORWARDED), (), ALWAYS),
        (SOURCE._replace(connection=FORWARDED), (), AUTOMATIC),
        (SOURCE, (), NatRules("always", lambda host: host == "10.0.0.8")),
        (SOURCE, (), NatRules("auto", lambda host: host == "10.0.0.8")),
    ],
    ids=["off", "route", "route, auto", "second via", "second via, auto", "trusted", "trusted, auto"],
)
def test_sub_32_no_nat_is_between_us_and_a_proxy_nor_anywhere_where_it_is_off(
    target: str, flow: Flow, routes: tuple[str, ...], nat: NatRules
) -> None:
    there = "10.9.9.9" if routes else target.partition("@")[2].removesuffix(":5070")
    assert destination(target, flow, *routes, nat=nat) == Destination("udp", there, 5060 if routes else 5070)


@pytest.mark.parametrize("host", ["10.0.0.8", "192.168.1.7", "8.8.8.8", "phone.example.net", "a.invalid"])
def test_sub_32_parameter_nat_handling_always_takes_the_source_whatever_the_contact(host: str) -> None:
    assert destination(f"sip:bob@{host}:5070", SOURCE, nat=ALWAYS) == AT_SOURCE


@pytest.mark.parametrize("nat", [AUTOMATIC, ALWAYS, OFF])
def test_sub_32_without_an_address_there_is_only_the_source(nat: NatRules) -> None:
    assert destination("sip:bob@a.invalid", SOURCE._replace(connection=FORWARDED), nat=nat) == AT_SOURCE


@pytest.mark.parametrize("nat", [AUTOMATIC, ALWAYS, OFF])
@pytest.mark.parametrize("flow", [TCP._replace(host="10.0.0.8"), SOURCE])
def test_sub_32_between_private_networks_a_connection_to_the_contact_is_tried(flow: Flow, nat: NatRules) -> None:
    where = destination("sip:bob@192.168.1.7:5070;transport=tcp", flow, nat=nat)
    assert where == Destination("tcp", "192.168.1.7", 5070)


@pytest.mark.parametrize(("nat", "expected"), [(AUTOMATIC, False), (ALWAYS, False), (OFF, True)])
def test_trn_18_what_is_answered_at_its_source_stays_on_udp(nat: NatRules, expected: bool) -> None:  # noqa: FBT001
    assert may_go_over_tcp(route_in_dialog("sip:bob@192.168.1.7:5070", ()), SOURCE, nat) is expected


@pytest.mark.parametrize(
    ("host", "is_address"),
    [("192.0.2.1", True), ("2001:db8::1", True), ("example.net", False), ("192.0.2", False), ("", False)],
)
def test_a_host_name_has_to_be_looked_up(host: str, *, is_address: bool) -> None:
    assert Destination("udp", host, 5060).is_address is is_address
    assert Destination("tcp", host, 5060, 3).flow() == Flow("tcp", host, 5060, 3)
