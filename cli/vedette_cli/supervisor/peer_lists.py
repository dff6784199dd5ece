"""The files by which the services of one machine find each other."""

from pathlib import Path
from urllib.parse import quote


class PeerLists:
    """One file for each kind of service, with the RPC addresses of those that are ready."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._addresses: dict[str, dict[int, str]] = {}
        self._unwritten: set[str] = set()

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return self._folder / f"{kind}.peers"

    def specification(self, kind: str) -> str:
        """The file as discovery takes it."""
        return f"@{quote(str(self.path(kind)))}"

    def clear(self) -> None:
        """Nobody is there."""
        for path in self._folder.glob("*.peers"):
            path.unlink()
        self._addresses.clear()

    def put(self, kind: str, number: int, address: str) -> None:
        """A process is ready. Raises OSError where the file cannot be written; `write_again` makes up for it."""
        self._addresses.setdefault(kind, {})[number] = address
        self._write(kind)

    def remove(self, kind: str, number: int) -> None:
        """A process is gone. Raises OSError as `put` does."""
        if self._addresses.get(kind, {}).pop(number, None) is not None:
            self._write(kind)

    def write_again(self) -> None:
        """Write what could not be written. Raises OSError where it still cannot."""
        for kind in sorted(self._unwritten):
            self._write(kind)

    def _write(self, kind: str) -> None:
        self._unwritten.add(kind)
        temporary = self.path(kind).with_suffix(".new")
        temporary.write_text("".join(f"{a}\n" for a in self._addresses[kind].values()), encoding="ascii")
        temporary.replace(self.path(kind))
        self._unwritten.discard(kind)
