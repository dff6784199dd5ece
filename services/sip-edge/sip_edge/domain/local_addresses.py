"""What this edge calls itself: host:port by transport and by IP version, for Contact and Via."""


class LocalAddresses:
    """Filled when the sockets are open."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], str] = {}

    def put(self, transport: str, host: str, address: str) -> None:
        """Call ourselves `address` towards clients of that transport whose IP version is that of `host`."""
        self._known[transport, ":" in host] = address

    def towards(self, transport: str, host: str) -> str | None:
        """host:port for a message to that IP address; None where nothing of ours reaches it."""
        return self._known.get((transport, ":" in host))


def advertised(server_addresses: str, host: str, port: int) -> str:
    """host:port for a socket that listens on `host` and `port`.

    `server_addresses` are host:port values separated by commas: one with an address counts for sockets of its IP
    version, one with a name for those that none of these is for. Empty: as it listens.
    """
    named = ""
    for entry in server_addresses.split(","):
        address = entry.strip()
        name = host_of(address)
        if not name:
            continue
        if is_ip(name):
            if (":" in name) == (":" in host):
                return address
        else:
            named = named or address
    return named or join(host, port)


def with_port(address: str, port: int) -> str:
    """host:port with another port."""
    return join(host_of(address), port)


def host_of(address: str) -> str:
    """The host of host:port, brackets off."""
    return address.rpartition(":")[0].strip("[]")


def split_address(address: str) -> tuple[str, int]:
    """Host, brackets off, and port of host:port."""
    return host_of(address), int(address.rpartition(":")[2])


def join(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_ip(host: str) -> bool:
    """Whether the host is an IP address."""
    return ":" in host or host.replace(".", "").isdigit()
