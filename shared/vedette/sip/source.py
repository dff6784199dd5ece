"""Whom what comes from an IP address is counted with."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """Whom an IP address is counted with: an IPv4 address for itself, an IPv6 address with its /64."""
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
