"""Parameters that say where something is: host:port, lists of peers, URLs. Checked before anything starts."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from vedette.runtime.parameters import About

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")


def check_host_port(value: str) -> str:
    """The value; ValueError, with what is wrong, where it is no host:port that can be reached."""
    host, colon, port = value.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{value!r} is no host:port")
    if not _is_port(port):
        raise ValueError(f"{value!r} has no port from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = _ip(host[1:-1], 6)
    else:
        address = _ip(host, 4)
        if address is None and _NAME.fullmatch(host) and not host.rstrip(".").rpartition(".")[2].isdigit():
            return value
    if address is None:
        raise ValueError(f"{host!r} is no name of a host, IPv4 address, or IPv6 address in brackets")
    if address.is_unspecified:
        raise ValueError(f"{host!r} stands for all addresses, and nobody reaches it")
    return value


def check_ip_port(value: str) -> str:
    """The value; ValueError where it is no host:port whose host is an IP address."""
    host = check_host_port(value).rpartition(":")[0]
    if not host.startswith("[") and _ip(host, 4) is None:
        raise ValueError(f"{host!r} is no IP address")
    return value


def check_ip_address(value: str) -> str:
    """The value; ValueError where it is no IP address."""
    if _ip(value, 4) is None and _ip(value, 6) is None:
        raise ValueError(f"{value!r} is not an IP address")
    return value


def check_networks(value: str) -> str:
    """The value; ValueError where it is no list of addresses and networks."""
    for part in value.split(",") if value else []:
        try:
            ipaddress.ip_network(part.strip())
        except ValueError:
            raise ValueError(f"{part.strip()!r} is no address or network, like 192.0.2.7 or 192.0.2.0/24") from None
    return value


def check_peers(value: str) -> str:
    """The value; ValueError, with what is wrong, where it is no list of peers as `Discovery` takes it."""
    for part in value.split(",") if value else []:
        peer = part.strip()
        if peer.startswith("@"):
            if not peer.startswith("@/"):
                raise ValueError(f"{peer!r}: write the whole path of the file, like @/run/core.peers")
        else:
            check_host_port(peer)
    return value


def _check_some_peers(value: str) -> str:
    if not value:
        raise ValueError("names nobody")
    return check_peers(value)


def _url_check(*schemes: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in schemes or not rest:
            raise ValueError(f"write a URL that begins with {' or '.join(f'{one}://' for one in schemes)}")
        for place in urlsplit(value).netloc.rpartition("@")[2].split(","):
            port = place.rpartition("]")[2].partition(":")[2]
            if port and not _is_port(port):
                raise ValueError(f"the port {port!r} is none from 1 to 65535")
        return value

    return check


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _ip(text: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address if address.version == version else None


_HOST_PORT = "HOST:PORT, an IPv6 address in brackets"
_PEERS = f"{_HOST_PORT}, or @ and the whole path of a file with one of these in each line; several with commas"

HostPort = Annotated[str, AfterValidator(check_host_port), About(allowed=_HOST_PORT)]
HostPortOrNone = Annotated[
    str,
    AfterValidator(lambda value: check_host_port(value) if value else value),
    About(allowed=f"{_HOST_PORT}; or empty"),
]
HostPortsOrNone = Annotated[
    str,
    AfterValidator(
        lambda value: ",".join(check_host_port(part.strip()) for part in value.split(",")) if value else ""
    ),
    About(allowed=f"{_HOST_PORT}; several with commas; or empty"),
]
IpPortsOrNone = Annotated[
    str,
    AfterValidator(lambda value: ",".join(check_ip_port(part.strip()) for part in value.split(",")) if value else ""),
    About(allowed="ADDRESS:PORT, an IPv6 address in brackets; several with commas; or empty"),
]
PeerList = Annotated[str, AfterValidator(_check_some_peers), About(allowed=_PEERS)]
PeerListOrNone = Annotated[str, AfterValidator(check_peers), About(allowed=f"{_PEERS}; or empty")]
PostgresUrl = Annotated[
    str,
    AfterValidator(_url_check("postgresql", "postgres")),
    About(allowed="postgresql://USER@HOST:PORT/DATABASE", secret=True),
]
_check_redis_url = _url_check("redis", "rediss", "unix")
RedisUrl = Annotated[
    str, AfterValidator(_check_redis_url), About(allowed="redis://HOST:PORT/NUMBER or unix://PATH", secret=True)
]
RedisUrlOrNone = Annotated[
    str,
    AfterValidator(lambda value: _check_redis_url(value) if value else value),
    About(allowed="redis://HOST:PORT/NUMBER or unix://PATH, or empty", secret=True),
]
NetworksOrNone = Annotated[
    str,
    AfterValidator(check_networks),
    About(allowed="addresses and networks like 192.0.2.0/24 and 2001:db8::/32, with commas; or empty"),
]
IpAddressOrNone = Annotated[
    str,
    AfterValidator(lambda value: check_ip_address(value) if value else value),
    About(allowed="an IP address, or empty"),
]
IpAddress = Annotated[str, AfterValidator(check_ip_address), About(allowed="an IP address")]
