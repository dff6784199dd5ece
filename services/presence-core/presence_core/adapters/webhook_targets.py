"""Where webhooks may lead: not into this machine or its networks, unless that is allowed."""

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


class TargetError(OSError):
    """The URL leads to where webhooks may not."""


def is_public(address: str) -> bool:
    """Whether this is an address of the public Internet; also not one that stands for a private IPv4 address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inside = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inside is None and found in ipaddress.ip_network("64:ff9b::/96"):
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inside is not None and not is_public(str(inside)):
            return False
    return found.is_global and not found.is_multicast


def fault_of(url: str, *, private: bool) -> str | None:
    """What is wrong with a URL, None for a good one; names are looked up when they are called."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "not an http or https URL"
    if parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        return "has what a webhook's URL may not have: a user, a password, a fragment, port 0"
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        return "has characters that have to be escaped"
    try:
        public = is_public(parts.hostname)
    except ValueError:
        name = parts.hostname.rstrip(".").lower()
        # What a resolver may take for an address (inet_aton), and the names of this machine.
        public = not (name == "localhost" or name.endswith(".localhost") or _looks_like_address(name))
    return None if public or private else "leads into a private network (api_webhook_private_targets)"


def _looks_like_address(name: str) -> bool:
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


class PublicResolver(AbstractResolver):
    """Looks names up, and gives no address that a webhook may not call: what was looked at is what is called."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses; TargetError where none may be called."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [item for item in found if self._private or is_public(item["host"])]
        if not allowed:
            raise TargetError(f"{host} leads into a private network (api_webhook_private_targets)")
        return allowed

    async def close(self) -> None:
        """Nothing is open."""
        await self._resolver.close()
