"""Which server of a domain is tried first (RFC 3263 sections 4.1 and 4.2, RFC 2782; row TRN-23)."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip_edge.domain.server_selection import MAX_SERVERS, Naptr, Srv, choose_services, order_servers, srv_name

ALL = ("udp", "tcp", "tls")
TLS = Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com")
TCP = Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com")
UDP = Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.com")


@pytest.mark.parametrize(
    ("records", "transports", "chosen"),
    [
        ([UDP, TCP, TLS], ALL, ["tls", "tcp", "udp"]),
        ([UDP, TCP, TLS], ("udp", "tcp"), ["tcp", "udp"]),
        ([UDP, TCP, TLS], ("tls",), ["tls"]),
        ([UDP, TCP], ("tls",), []),
        ([UDP._replace(order=90, preference=10), TCP], ALL, ["udp", "tcp"]),
        ([UDP._replace(service="sip+d2u", flags="S")], ALL, ["udp"]),
        ([UDP._replace(flags="a"), TCP._replace(flags="")], ALL, []),
        ([UDP._replace(service="E2U+sip"), TCP._replace(service="SIP+D2S")], ALL, []),
        ([UDP._replace(replacement="")], ALL, []),
        ([], ALL, []),
    ],
)
def test_trn_23_services_by_order_and_preference_as_far_as_we_speak_them(
    records: list[Naptr], transports: tuple[str, ...], chosen: list[str]
) -> None:
    for mixed in itertools.permutations(records):
        found = choose_services(mixed, transports)
        assert [transport for transport, _ in found] == chosen
        assert all(name.endswith(".example.com") for _, name in found)


def test_trn_23_names_of_services() -> None:
    assert [srv_name(transport, "example.com") for transport in ALL] == [
        "_sip._udp.example.com",
        "_sip._tcp.example.com",
        "_sips._tcp.example.com",
    ]


def test_trn_23_servers_by_priority_and_then_by_weight() -> None:
    records = [Srv(10, 60, 5060, "a"), Srv(10, 20, 5060, "b"), Srv(10, 0, 5060, "c"), Srv(1, 0, 5060, "first")]
    steps = [step / 1000 for step in range(1000)]
    firsts: Counter[str] = Counter()
    for step in steps:
        ordered = order_servers(records, lambda step=step: step)  # type: ignore[misc]
        assert ordered[0].target == "first"
        assert sorted(record.target for record in ordered) == ["a", "b", "c", "first"]
        firsts[ordered[1].target] += 1
    assert 700 < firsts["a"] < 770
    assert 230 < firsts["b"] < 270
    assert 0 < firsts["c"] < 20


def test_trn_23_a_dot_says_that_there_is_no_such_service() -> None:
    assert order_servers([Srv(0, 0, 0, ".")], lambda: 0.0) == []


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535), st.text("abc.", max_size=3)), max_size=30),
    st.floats(0, 1, exclude_max=True),
)
def test_trn_23_whatever_a_domain_holds_the_list_is_short_and_sorted(
    rows: list[tuple[int, int, str]], point: float
) -> None:
    records = [Srv(priority, weight, 5060, target) for priority, weight, target in rows]
    ordered = order_servers(records, lambda: point)
    assert len(ordered) == min(MAX_SERVERS, sum(bool(record.target.rstrip(".")) for record in records))
    assert [record.priority for record in ordered] == sorted(record.priority for record in ordered)
