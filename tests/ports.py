"""Ports for the servers of tests: none that a connection going out may be given, none of another run's.

A set keeps its ports while its processes are killed and started again. A port that the kernel gave (bind to 0) may
be somebody else's by then; so these lie below the ephemeral ones, and each process of tests has a slice of them.
"""

import itertools
import socket
from collections.abc import Iterator
from functools import cache

FIRST = 12_000
SLICE = 400
SLICES = 50
"""Up to 32,000; Linux gives connections going out those from 32,768 on."""

_claims: list[socket.socket] = []
"""Open until this process ends, whatever ends it."""


@cache
def _ports() -> Iterator[int]:
    """The ports of this process, again and again."""
    for number in range(SLICES):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0vedette-tests-ports-{number}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return itertools.cycle(range(FIRST + number * SLICE, FIRST + (number + 1) * SLICE))
    raise RuntimeError(f"{SLICES} processes on this machine run tests already")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has, neither for TCP nor for UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_ports(), SLICE):
        with socket.socket(family) as stream, socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                stream.bind((host, port))
                stream.listen(1)
                datagrams.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of {SLICE} ports is free")
