"""Where a message came from or goes to."""

from typing import NamedTuple

FORWARDED = -1
"""The connection of a datagram that a proxy passed on: its source is not where the client is."""


class Flow(NamedTuple):
    """A transport, the far end's address, and for streams the connection (its id inside one edge process)."""

    transport: str
    """`udp`, `tcp`, `tls`, `ws` or `wss`."""
    host: str
    """IP address of the far end, without brackets."""
    port: int
    connection: int = 0
    """0 for datagrams, or where any connection to that address will do; FORWARDED for datagrams of others."""
    name: str = ""
    """For TLS to an address that was looked up: the name that the far end's certificate has to hold."""

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself."""
        return self.transport != "udp"

    @property
    def forwarded(self) -> bool:
        """Whether a proxy passed the datagram on."""
        return self.connection == FORWARDED

    @property
    def source(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port
