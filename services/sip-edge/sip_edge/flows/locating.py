"""From the name of a next hop to the addresses that are tried one after the other (RFC 3263 section 4)."""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from sip_edge.domain.next_hop import DEFAULT_PORTS, Destination
from sip_edge.domain.server_selection import MAX_SERVERS, Naptr, Srv, choose_services, order_servers, srv_name

PATIENCE = 8.0
"""Seconds for all lookups of one NOTIFY."""


class UndecidedError(Exception):
    """Nobody answers what we ask, or the answer is that they cannot say: later it may be known."""


class Names(Protocol):
    """The domain name system. Lists are empty where there is nothing; all raise UndecidedError."""

    async def naptr(self, name: str) -> list[Naptr]:
        """The services of a domain."""

    async def srv(self, name: str) -> list[Srv]:
        """The servers of a service."""

    async def addresses(self, name: str) -> list[str]:
        """IPv4 and IPv6 addresses of a host."""


class Locator:
    """`locate` destinations that are names."""

    def __init__(self, names: Names, *, reaches: Callable[[str, str], bool]) -> None:
        """`reaches`: whether we have a socket for that transport and the IP version of that address."""
        self._names = names
        self._reaches = reaches
        self._random = random.Random()  # noqa: S311 - it spreads load

    async def locate(self, destination: Destination, *, prefer_ipv6: bool) -> list[Destination]:
        """The addresses to try, best first; none where the name has none. Raises UndecidedError."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._locate(destination, prefer_ipv6=prefer_ipv6)
        except TimeoutError:
            raise UndecidedError(f"no answer about {destination.host} in time") from None

    async def _locate(self, destination: Destination, *, prefer_ipv6: bool) -> list[Destination]:
        found: list[Destination] = []
        for server in await self._servers(destination):
            addresses = await self._names.addresses(server.host)
            found += [
                server._replace(host=address, name=destination.host)
                for address in sorted(addresses, key=lambda one: (":" in one) != prefer_ipv6)
                if self._reaches(server.transport, address)
            ]
            if len(found) >= MAX_SERVERS:
                break
        return found[:MAX_SERVERS]

    async def _servers(self, destination: Destination) -> list[Destination]:
        """Names and ports of the servers; the host itself where it names none."""
        if destination.finds_transport:
            for transport, name in choose_services(
                await self._names.naptr(destination.host), self._transports(destination)
            ):
                servers = await self._of_service(transport, name)
                if servers:
                    return servers
        if destination.finds_port:
            for transport in self._transports(destination):
                servers = await self._of_service(transport, srv_name(transport, destination.host))
                if servers:
                    return servers
        return [destination._replace(finds_port=False, finds_transport=False)]

    def _transports(self, destination: Destination) -> list[str]:
        """The transports that come into question, that of the watcher first."""
        if not destination.finds_transport or destination.transport == "tls":
            return [destination.transport]
        return [destination.transport, *(one for one in DEFAULT_PORTS if one != destination.transport)]

    async def _of_service(self, transport: str, name: str) -> list[Destination]:
        records = await self._names.srv(name)
        return [
            Destination(transport, record.target.rstrip("."), record.port)
            for record in order_servers(records, self._random.random)
        ]
