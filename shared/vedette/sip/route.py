"""Routing of requests inside a dialog (RFC 3261 sections 12.1, 12.2.1.1 and 16.4)."""

from collections.abc import Sequence
from typing import NamedTuple

from vedette.sip.address import parse_address
from vedette.sip.uri import SipUri, parse_uri


class RoutedRequest(NamedTuple):
    """Request-URI, Route values in order, and the URI whose host is the next hop."""

    request_uri: str
    routes: tuple[str, ...]
    next_hop: SipUri


def route_in_dialog(remote_target: str, route_set: Sequence[str]) -> RoutedRequest:
    """How a request travels in a dialog with that remote target (a URI) and route set (Record-Route values).

    A loose first hop keeps the target as Request-URI; a strict one is moved there and the target goes to the end of
    the Route (section 12.2.1.1). Raises SipError for a URI that cannot be read.
    """
    target = parse_uri(remote_target)
    if not route_set:
        return RoutedRequest(target.without_headers(), (), target)
    first = parse_uri(parse_address(route_set[0], "Record-Route").uri)
    if first.parameter("lr") is not None:
        return RoutedRequest(target.without_headers(), tuple(route_set), first)
    return RoutedRequest(first.without_headers(), (*route_set[1:], f"<{remote_target}>"), first)


def next_hop_in_dialog(remote_target: str, route_set: Sequence[str]) -> SipUri:
    """The `next_hop` of `route_in_dialog`, without the rest. Raises SipError as that does."""
    target = parse_uri(remote_target)
    return parse_uri(parse_address(route_set[0], "Record-Route").uri) if route_set else target


def names_us(uri: SipUri, addresses: frozenset[tuple[str, int]]) -> bool:
    """Whether the URI's host and port are one of this server's `(host, port)` addresses, hosts in lower case."""
    return (uri.host.lower(), uri.port or 5060) in addresses
