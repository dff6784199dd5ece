"""Names of next hops (A and AAAA), looked up without stopping the loop and kept for a while."""

import asyncio
import socket
import time

TTL = 30.0
NEGATIVE_TTL = 5.0
MAX_NAMES = 10_000


class Resolver:
    """`resolve` a host name to an address of the family that our sockets have."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._known: dict[str, tuple[float, str | None]] = {}

    async def resolve(self, host: str) -> str | None:
        """An address of the host, None where it has none."""
        known = self._known.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                host, None, family=self._family, type=socket.SOCK_DGRAM
            )
            address: str | None = str(infos[0][4][0])
        except (OSError, UnicodeError):
            address = None
        if len(self._known) >= MAX_NAMES:
            self._known.clear()
        self._known[host] = (time.monotonic() + (TTL if address else NEGATIVE_TTL), address)
        return address
