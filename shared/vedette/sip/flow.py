"""Where a message came from or goes to."""

from typing import NamedTuple


class Flow(NamedTuple):
    """A transport, the far end's address, and for streams the connection (its id inside one edge process)."""

    transport: str
    """`udp` or `tcp`, in lower case."""
    host: str
    """IP address of the far end, without brackets."""
    port: int
    connection: int = 0
    """0 for datagrams, or where any connection to that address will do."""

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself."""
        return self.transport != "udp"

    @property
    def source(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port
