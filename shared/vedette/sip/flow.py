"""Where a message came from or goes to."""

from typing import NamedTuple


class Flow(NamedTuple):
    """A transport, the far end's address, and for streams the connection (its id inside one edge process)."""

    transport: str
    """`udp`, `tcp`, `tls`, `ws` or `wss`."""
    host: str
    """IP address of the far end, without brackets."""
    port: int
    connection: int = 0
    """0 for datagrams, or where any connection to that address will do."""
    name: str = ""
    """For TLS to an address that was looked up: the name that the far end's certificate has to hold."""

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself."""
        return self.transport != "udp"

    @property
    def source(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port
