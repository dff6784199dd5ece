"""Requests inside a dialog: Request-URI, Route and next hop (RFC 3261 sections 12.2.1.1 and 16.4)."""

import json

import pytest

from tests.vectors import FOLDER, needs_vectors
from vedette.sip.errors import SipError
from vedette.sip.route import names_us, route_in_dialog
from vedette.sip.uri import parse_uri

ROUTES = [
    # remote target, route set, Request-URI, Route, next hop
    ("sip:bob@192.0.2.4;ob", [], "sip:bob@192.0.2.4;ob", [], "192.0.2.4"),
    ("sip:bob@h?Subject=x", [], "sip:bob@h", [], "h"),
    ("sip:bob@h", ["<sip:p1;lr>"], "sip:bob@h", ["<sip:p1;lr>"], "p1"),
    ("sip:bob@h", ["<sip:p1;lr>;x=1", "<sip:p2>"], "sip:bob@h", ["<sip:p1;lr>;x=1", "<sip:p2>"], "p1"),
    ("sip:bob@h", ["<sip:p1;LR=on>"], "sip:bob@h", ["<sip:p1;LR=on>"], "p1"),
    ("sip:bob@h", ["<sip:p1>"], "sip:p1", ["<sip:bob@h>"], "p1"),
    ("sip:b@h;ob?x=y", ["<sip:p1;method=X?a=b>", "<sip:p2;lr>"], "sip:p1", ["<sip:p2;lr>", "<sip:b@h;ob?x=y>"], "p1"),
    ("sip:bob@h", ["<sip:p1>;lr"], "sip:p1", ["<sip:bob@h>"], "p1"),
    ("sip:bob@h", ['"P" <sip:[2001:db8::1]:70;lr>'], "sip:bob@h", ['"P" <sip:[2001:db8::1]:70;lr>'], "[2001:db8::1]"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "route_set", "request_uri", "routes", "next_hop"), ROUTES)
def test_dlg_04_05_06_07_routes(
    target: str, route_set: list[str], request_uri: str, routes: list[str], next_hop: str
) -> None:
    routed = route_in_dialog(target, route_set)
    assert (routed.request_uri, list(routed.routes), routed.next_hop.host) == (request_uri, routes, next_hop)


@needs_vectors
def test_dlg_06_the_strict_router_that_rfc_3261_prints() -> None:
    table = json.loads((FOLDER / "golden" / "uri" / "rfc3261-19.1.4.json").read_text(encoding="utf-8"))
    case = table["strict_route_rfc3261_12.2.1.1"]
    routed = route_in_dialog(case["remote_target"], case["route_set"])
    assert (routed.request_uri, list(routed.routes)) == (case["request_uri"], case["route"])
    assert routed.next_hop.host == "proxy1"


@pytest.mark.parametrize(
    ("target", "route_set"),
    [
        ("", []),
        ("tel:1", []),
        ("sip:a b@c", []),
        ("sip:a@b", ["<tel:1>"]),
        ("sip:a@b", ["nonsense"]),
        ("sip:a@b", [""]),
    ],
)
def test_a_target_or_route_that_cannot_be_read_is_told(target: str, route_set: list[str]) -> None:
    with pytest.raises(SipError):
        route_in_dialog(target, route_set)


@pytest.mark.parametrize(
    ("uri", "ours"),
    [
        ("sip:127.0.0.1:5162;lr", "yes"),
        ("sip:Edge.Example.com;transport=udp;lr", "yes"),
        ("sip:alice@edge.example.com", "yes"),
        ("sip:edge.example.com:5070", "no"),
        ("sip:127.0.0.1", "no"),
        ("sip:other.example.com", "no"),
    ],
)
def test_dlg_22_a_route_names_us_by_host_and_port(uri: str, ours: str) -> None:
    addresses = frozenset({("127.0.0.1", 5162), ("edge.example.com", 5060)})
    assert names_us(parse_uri(uri), addresses) == (ours == "yes")
