"""Which processes belong to a set, told by the kernel and not by the set."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.phone import token
from tests.wait import until_true

MARK = "MARK_OF_A_TEST"


@dataclass
class Traces:
    """The processes that carry a mark in their environment or work in the data folder."""

    data: Path
    mark: str = field(default_factory=token)

    @property
    def environment(self) -> dict[str, str]:
        """What the set has to be started with."""
        return {MARK: self.mark}

    def processes(self) -> dict[int, str]:
        """pid and command line of each that is alive."""
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid() and self._belongs(entry):
                found[int(entry.name)] = _command_line(entry)
        return found

    def _belongs(self, entry: Path) -> bool:
        try:
            if (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z":
                return False
            # Postgres writes its titles over its environment; it works in the data folder
            if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                return True
            return (entry / "cwd").resolve(strict=True).is_relative_to(self.data.resolve())
        except OSError:
            return False

    async def wait_until_none(self, deadline: float) -> None:
        """Return when none is left; AssertionError at the deadline."""
        await until_true(lambda: not self.processes(), f"nothing runs on {self.data}", deadline=deadline)


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
