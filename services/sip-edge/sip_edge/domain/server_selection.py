"""Which servers a domain has for SIP, and in which order they are tried (RFC 3263, RFC 2782). Pure."""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

MAX_SERVERS = 8
"""Servers of one domain that are looked at: strangers choose what their domain holds."""

_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_SRV_LABELS = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class Naptr(NamedTuple):
    """What a domain says of one service."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    """One server of a service."""

    priority: int
    weight: int
    port: int
    target: str


def srv_name(transport: str, host: str) -> str:
    """The name that the servers of a host for that transport are found by."""
    return f"{_SRV_LABELS[transport]}.{host}"


def choose_services(records: Iterable[Naptr], transports: Collection[str]) -> list[tuple[str, str]]:
    """Transport and name of the SRV records for each service that we can use, best first (RFC 3263 section 4.1)."""
    usable = [
        (record.order, record.preference, _SERVICES[record.service.upper()], record.replacement)
        for record in records
        if record.flags.lower() == "s" and _SERVICES.get(record.service.upper()) in transports and record.replacement
    ]
    return [(transport, name) for _, _, transport, name in sorted(usable)][:MAX_SERVERS]


def order_servers(records: Iterable[Srv], random: Callable[[], float]) -> list[Srv]:
    """The servers in the order of RFC 2782: by priority, and among equals at random by their weight.

    `random` gives numbers from 0 up to 1. A target of "." means that the service is not there.
    """
    left = [record for record in records if record.target.rstrip(".")]
    ordered: list[Srv] = []
    while left and len(ordered) < MAX_SERVERS:
        lowest = min(record.priority for record in left)
        # Those without a weight stand first, so that they have a very small chance, as section 4 has it.
        group = sorted((record for record in left if record.priority == lowest), key=lambda record: record.weight)
        point = random() * (sum(record.weight for record in group) + 1)
        chosen = group[-1]
        passed = 0
        for record in group:
            passed += record.weight
            if passed >= point:
                chosen = record
                break
        ordered.append(chosen)
        left.remove(chosen)
    return ordered
