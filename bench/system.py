"""What the measurements need to know of a system under test."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SystemUnderTest:
    """A running system."""

    name: str
    address: tuple[str, int]
    """Where it listens for SIP over UDP."""
    processes: Sequence[int]
    """Its processes, or those above them."""
