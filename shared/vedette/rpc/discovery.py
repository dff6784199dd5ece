"""Finding the processes of a service: a DNS name, a list of addresses, or a file that a supervisor keeps."""

import asyncio
import socket
from pathlib import Path


class Discovery:
    """The addresses behind a specification.

    The specification is a comma-separated list of `host:port` (each host resolved to all its addresses, so that one
    DNS name stands for all replicas) and `@/path` (a file with one `host:port` in each line, read anew each time).
    """

    def __init__(self, specification: str) -> None:
        self._parts = [part.strip() for part in specification.split(",") if part.strip()]

    async def addresses(self) -> set[str]:
        """Every address now; those that cannot be found out are left out."""
        found: set[str] = set()
        for part in self._parts:
            if part.startswith("@"):
                found |= _read(Path(part[1:]))
            else:
                found |= await _resolve(part)
        return found


def _read(path: Path) -> set[str]:
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except OSError:
        return set()


async def _resolve(address: str) -> set[str]:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return set()
    return {f"[{info[4][0]}]:{port}" if info[0] == socket.AF_INET6 else f"{info[4][0]}:{port}" for info in infos}
