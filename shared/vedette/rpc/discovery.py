"""Finding the processes of a service: a DNS name, a list of addresses, or a file that a supervisor keeps."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import unquote

LOOKUP_TIMEOUT = 2.0


class Discovery:
    """The addresses behind a specification.

    The specification is a comma-separated list of `host:port` (each host resolved to all its addresses, so that one
    DNS name stands for all replicas) and `@/path` (a file with one `host:port` in each line, read anew each time; a
    comma, a per cent sign or white space in the path is written as in a URL).
    While a name cannot be looked up it stands for what it stood for before: replicas that work outlive a name server.
    """

    def __init__(self, specification: str) -> None:
        self._parts = [part.strip() for part in specification.split(",") if part.strip()]
        self._resolved: dict[str, set[str]] = {}

    async def addresses(self) -> set[str]:
        """Every address now; those that cannot be found out are left out."""
        found: set[str] = set()
        for part in self._parts:
            if part.startswith("@"):
                found |= _read(Path(unquote(part[1:])))
            else:
                resolved = await _resolve(part)
                if resolved is not None:
                    self._resolved[part] = resolved
                found |= self._resolved.get(part, set())
        return found


def _read(path: Path) -> set[str]:
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError):
        return set()


async def _resolve(address: str) -> set[str] | None:
    """The addresses of a `host:port`; None where they cannot be found out now."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT):
            infos = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return None
    return {f"[{info[4][0]}]:{port}" if info[0] == socket.AF_INET6 else f"{info[4][0]}:{port}" for info in infos}
