"""Where a NOTIFY goes (RFC 3261 section 12.2.1.1, RFC 5626 section 5.3)."""

import ipaddress
from dataclasses import dataclass

from vedette.sip.flow import Flow
from vedette.sip.route import RoutedRequest
from vedette.sip.uri import SipUri

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
SECURE = frozenset({"tls", "wss"})
WEBSOCKETS = frozenset({"ws", "wss"})


@dataclass(frozen=True, slots=True)
class Destination:
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


def choose_destination(routed: RoutedRequest, flow: Flow, *, flow_is_open: bool) -> Destination | None:
    """Where to send a request of a dialog whose last SUBSCRIBE came over `flow`; None: nowhere.

    A stream's own connection first, while it is open: behind NAT there is no other way. Else the next hop of the
    route set or Contact; but over UDP a Contact with an address that cannot be reached from here (private, a
    carrier's or loopback, while the request came from elsewhere) or without one (`.invalid`, RFC 7118) is answered
    where the request came from. Nobody can connect to such a one, and nobody to a browser (RFC 7118 section 5).
    A `sips` URI is only ever reached by TLS (RFC 5630 section 3.1.3).
    """
    uri = routed.next_hop
    is_secure = uri.scheme == "sips" or routed.request_uri.startswith("sips:")
    if flow.reliable and flow_is_open and (flow.transport in SECURE or not is_secure):
        return Destination(flow.transport, flow.host, flow.port, flow.connection)
    transport = _transport(uri, flow, is_secure=is_secure)
    if transport in WEBSOCKETS:
        return None
    host = (uri.parameter("maddr") or uri.host).strip("[]")
    if not routed.routes and _is_behind_nat(host, flow.host):
        return Destination(transport, flow.host, flow.port) if transport == "udp" == flow.transport else None
    finds_port = uri.port is None and _address(host) is None
    return Destination(
        transport,
        host,
        uri.port or DEFAULT_PORTS[transport],
        finds_port=finds_port,
        finds_transport=finds_port and not uri.parameter("transport"),
    )


def may_go_over_tcp(routed: RoutedRequest, flow: Flow) -> bool:
    """Whether a request for UDP that is too large for it is tried over TCP first (RFC 3261 section 18.1.1).

    Not where the next hop names UDP, and not for a client behind a NAT, which nobody can connect to.
    """
    uri = routed.next_hop
    if uri.parameter("transport"):
        return False
    return bool(routed.routes) or not _is_behind_nat(uri.host.strip("[]"), flow.host)


def _transport(uri: SipUri, flow: Flow, *, is_secure: bool) -> str:
    named = (uri.parameter("transport") or "").lower()
    if named in WEBSOCKETS:
        return named
    if is_secure:
        return "tls"
    if named in DEFAULT_PORTS:
        return named
    return "udp" if named else flow.transport


def _is_behind_nat(contact_host: str, source_host: str) -> bool:
    if contact_host.lower().endswith(".invalid"):
        return True
    contact, source = _address(contact_host), _address(source_host)
    if contact is None or source is None or contact == source:
        return False
    if contact.is_loopback:
        return not source.is_loopback
    return not contact.is_global and source.is_global


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
