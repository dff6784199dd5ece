"""What the measurements need to know of a system under test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SystemUnderTest:
    """A running system."""

    name: str
    address: tuple[str, int]
    """Where it listens for SIP, over UDP and perhaps over TCP."""
    roles: Mapping[int, str]
    """Its processes and what each is; those below one are as that one is, where they are not here themselves."""

    database: str
    """The URL of its database."""

    @property
    def processes(self) -> Sequence[int]:
        """Its processes, or those above them."""
        return list(self.roles)
