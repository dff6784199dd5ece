"""What an edge calls itself (rows TRN-25, CMP)."""

import pytest

from sip_edge.domain.local_addresses import LocalAddresses, advertised, with_port


def test_trn_25_each_transport_and_ip_version_has_its_own_name() -> None:
    ours = LocalAddresses()
    ours.put("udp", "0.0.0.0", "192.0.2.1:5060")
    ours.put("udp", "::", "[2001:db8::1]:5060")
    ours.put("wss", "0.0.0.0", "sip.example:443")
    assert ours.towards("udp", "203.0.113.7") == "192.0.2.1:5060"
    assert ours.towards("udp", "2001:db8::7") == "[2001:db8::1]:5060"
    assert ours.towards("wss", "203.0.113.7") == "sip.example:443"
    assert ours.towards("wss", "2001:db8::7") is None
    assert ours.towards("tcp", "203.0.113.7") is None


@pytest.mark.parametrize(
    ("said", "host", "name"),
    [
        ("", "127.0.0.1", "127.0.0.1:5070"),
        ("", "::1", "[::1]:5070"),
        ("sip.example:5060", "0.0.0.0", "sip.example:5060"),
        ("sip.example:5060", "::", "sip.example:5060"),
        ("192.0.2.1:5060", "0.0.0.0", "192.0.2.1:5060"),
        ("192.0.2.1:5060", "::1", "[::1]:5070"),
        ("192.0.2.1:5060, [2001:db8::1]:5062", "::", "[2001:db8::1]:5062"),
        ("192.0.2.1:5060,[2001:db8::1]:5062", "0.0.0.0", "192.0.2.1:5060"),
        ("192.0.2.1:5060,sip.example:5062", "::", "sip.example:5062"),
        ("sip.example:5062,192.0.2.1:5060", "0.0.0.0", "192.0.2.1:5060"),
    ],
)
def test_server_address_names_an_edge_for_an_ip_version_or_for_both(said: str, host: str, name: str) -> None:
    assert advertised(said, host, 5070) == name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1:5060", "192.0.2.1:443"),
        ("[2001:db8::1]:5060", "[2001:db8::1]:443"),
        ("a.example:1", "a.example:443"),
    ],
)
def test_other_transports_are_on_the_same_host(address: str, name: str) -> None:
    assert with_port(address, 443) == name
