"""Where a NOTIFY goes (RFC 3261 section 12.2.1.1, RFC 5626 section 5.3)."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from vedette.sip.flow import Flow
from vedette.sip.route import RoutedRequest
from vedette.sip.uri import SipUri

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
SECURE = frozenset({"tls", "wss"})
WEBSOCKETS = frozenset({"ws", "wss"})
PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598: behind a carrier's NAT
        *("169.254.0.0/16", "fe80::/10"),  # on one link
        "fc00::/7",  # RFC 4193
    )
)
"""Addresses that mean another machine in each network that uses them."""


@dataclass(frozen=True, slots=True)
class NatRules:
    """Which clients are taken to be behind a NAT (ADR 0027)."""

    handling: Literal["auto", "always", "off"] = "auto"
    """auto: those whose Contact has an address that leads elsewhere from here. always: all. off: none."""
    is_peer: Callable[[str], bool] = lambda _: False
    """Whether an address is that of a trusted peer, whose Contacts are as they should be."""


AUTOMATIC = NatRules()


class Destination(NamedTuple):
    """A flow, or a host name that has to be looked up first."""

    transport: str
    host: str
    port: int
    connection: int = 0
    name: str = ""
    """The host name that the address was found for."""
    finds_port: bool = False
    """Whether SRV records may name other servers and ports (RFC 3263 section 4.2)."""
    finds_transport: bool = False
    """Whether NAPTR records may name another transport (section 4.1)."""

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        return _address(self.host) is not None

    def flow(self) -> Flow:
        """The flow to an address."""
        return Flow(self.transport, self.host, self.port, self.connection, self.name)


def choose_destination(
    routed: RoutedRequest, flow: Flow, *, flow_is_open: bool, nat: NatRules = AUTOMATIC
) -> Destination | None:
    """Where to send a request of a dialog whose last SUBSCRIBE came over `flow`; None: nowhere.

    A stream's own connection first, while it is open: behind NAT there is no other way. Else the next hop of the
    route set or Contact; but a Contact that leads nowhere from here (`nat`), or one without an address (`.invalid`,
    RFC 7118), is answered over UDP where the request came from. Nobody can connect to such a one, and nobody to a
    browser (RFC 7118 section 5).
    A `sips` URI is only ever reached by TLS (RFC 5630 section 3.1.3).
    """
    uri = routed.next_hop
    is_plain = uri.scheme == "sip" and not uri.parameters and not routed.routes
    if is_plain and flow.transport == "udp" and uri.host == flow.host and nat.handling == "auto":
        # As nearly all are; all that follows would come to the same.
        return Destination("udp", flow.host, uri.port or DEFAULT_PORTS["udp"])
    is_secure = uri.scheme == "sips" or routed.request_uri.startswith("sips:")
    if flow.reliable and flow_is_open and (flow.transport in SECURE or not is_secure):
        return Destination(flow.transport, flow.host, flow.port, flow.connection)
    transport = _transport(uri, flow, is_secure=is_secure)
    if transport in WEBSOCKETS:
        return None
    host = _host(uri)
    if not routed.routes:
        if transport == "udp" == flow.transport:
            if _is_answered_at_source(host, flow, nat):
                return Destination(transport, flow.host, flow.port)
        elif _is_out_of_reach(host, flow.host, nat):
            return None
    finds_port = uri.port is None and _address(host) is None
    return Destination(
        transport,
        host,
        uri.port or DEFAULT_PORTS[transport],
        finds_port=finds_port,
        finds_transport=finds_port and not uri.parameter("transport"),
    )


def may_go_over_tcp(routed: RoutedRequest, flow: Flow, nat: NatRules = AUTOMATIC) -> bool:
    """Whether a request for UDP that is too large for it is tried over TCP first (RFC 3261 section 18.1.1).

    Not where the next hop names UDP, and not for a client behind a NAT, which nobody can connect to.
    """
    uri = routed.next_hop
    if uri.parameter("transport"):
        return False
    return bool(routed.routes) or not _is_answered_at_source(_host(uri), flow, nat)


def _host(uri: SipUri) -> str:
    """Where the URI leads, brackets off: `maddr` goes before its host (RFC 3263 section 4)."""
    return (uri.parameter("maddr") or uri.host).strip("[]")


def _transport(uri: SipUri, flow: Flow, *, is_secure: bool) -> str:
    named = (uri.parameter("transport") or "").lower()
    if named in WEBSOCKETS:
        return named
    if is_secure:
        return "tls"
    if named in DEFAULT_PORTS:
        return named
    return "udp" if named else flow.transport


def _is_answered_at_source(contact_host: str, flow: Flow, nat: NatRules) -> bool:
    """Whether a client that sent a datagram is reached where it came from only."""
    if nat.handling == "auto" and contact_host == flow.host:
        return False
    if _has_no_address(contact_host):
        return True
    if nat.handling == "off" or flow.forwarded or nat.is_peer(flow.host):
        return False
    return (
        nat.handling == "always" or _leads_elsewhere(contact_host, flow.host) or _is_private(contact_host, flow.host)
    )


def _is_out_of_reach(contact_host: str, source_host: str, nat: NatRules) -> bool:
    """Whether it is vain to connect to a client; between private networks it may work, and nothing else is left."""
    return _has_no_address(contact_host) or (nat.handling != "off" and _leads_elsewhere(contact_host, source_host))


def _has_no_address(contact_host: str) -> bool:
    return contact_host.lower().endswith(".invalid")


@lru_cache(maxsize=16384)
def _leads_elsewhere(contact_host: str, source_host: str) -> bool:
    """Whether the Contact is surely another machine's from here: loopback, or no public one of a public source."""
    contact, source = _address(contact_host), _address(source_host)
    if contact is None or source is None or contact == source:
        return False
    if contact.is_loopback:
        return not source.is_loopback
    return not contact.is_global and source.is_global


@lru_cache(maxsize=16384)
def _is_private(contact_host: str, source_host: str) -> bool:
    """Whether the Contact has a private address, and not that of the source."""
    contact = _address(contact_host)
    if contact is None or contact == _address(source_host):
        return False
    return contact.is_unspecified or any(contact in network for network in PRIVATE)


@lru_cache(maxsize=16384)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
