"""What an idle TCP connection keeps in memory, in the SIP edge and in the others."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import sipp
from bench.cpu_time import memory_by_role
from bench.plan import Plan
from bench.postgres import PostgresServer
from bench.vedette import running_on

SPARE_FILES = 500
"""Open files besides the connections."""
BACKLOG = 50
"""Connections that are opened before one of them has to have been answered."""
SETTLE = 3.0
PATIENCE = 10.0
PING, PONG = b"\r\n\r\n", b"\r\n"

Say = Callable[[str], None]


class ConnectionsError(Exception):
    """The connections could not be opened."""


@dataclass(frozen=True)
class ConnectionMemory:
    """Octets of memory by role (Pss: without the buffers of the kernel)."""

    connections: int
    before: dict[str, int]
    after: dict[str, int]

    def for_each(self, role: str) -> float:
        """Octets that a connection costs in a role."""
        return (self.after[role] - self.before[role]) / self.connections


async def measure(server: PostgresServer, folder: Path, plan: Plan, say: Say) -> ConnectionMemory:
    """Open them, each having got one answer to a ping (RFC 5626 section 3.5.1). Raises ConnectionsError."""
    folder.mkdir(mode=0o755)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(plan.connections, hard - SPARE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parameters = {
        "VEDETTE_MAX_CONNECTIONS": str(count + SPARE_FILES),
        "VEDETTE_MAX_CONNECTIONS_PER_SOURCE": str(count + SPARE_FILES),
    }
    try:
        async with server.fresh_database("bench_connections") as database:
            port = sipp.free_port("127.0.0.1")
            async with running_on(database, folder / "set", port, parameters=parameters) as system:
                await asyncio.sleep(SETTLE)
                before = memory_by_role(system.roles)
                with contextlib.ExitStack() as stack:
                    await asyncio.to_thread(_open, system.address, count, stack, say)
                    await asyncio.sleep(SETTLE)
                    after = memory_by_role(system.roles)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = ConnectionMemory(count, before, after)
    say(f"{count} connections: {found.for_each('edge') / 1024:.1f} KiB of the edge for each")
    return found


def _open(address: tuple[str, int], count: int, stack: contextlib.ExitStack, say: Say) -> None:
    opened: list[socket.socket] = []
    try:
        for number in range(1, count + 1):
            one = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            one.sendall(PING)
            opened.append(one)
            if number % BACKLOG == 0 or number == count:
                _read_pongs(opened)
                opened.clear()
            if number % 2000 == 0:
                say(f"  {number} connections")
    except OSError as error:
        raise ConnectionsError(f"of {count} connections one was not served: {error}") from None


def _read_pongs(opened: list[socket.socket]) -> None:
    for one in opened:
        if one.recv(2) != PONG:
            raise ConnectionsError("a connection was closed instead of being answered")
