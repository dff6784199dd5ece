"""Reading watcher information as its reader has to (RFC 3858 section 4), with another reader than what wrote it."""

from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree as ET

WATCHERINFO = "{urn:ietf:params:xml:ns:watcherinfo}"


class SeenWatcher(NamedTuple):
    """One `watcher` element."""

    id: str
    uri: str
    status: str
    event: str
    attributes: dict[str, str]

    @property
    def what(self) -> tuple[str, str, str]:
        """Who, in which status, by which event."""
        return self.uri, self.status, self.event


class SeenDocument(NamedTuple):
    """One document with its one list."""

    version: int
    state: str
    resource: str
    package: str
    watchers: list[SeenWatcher]

    @property
    def what(self) -> list[tuple[str, str, str]]:
        """What it says of each watcher, in order."""
        return [watcher.what for watcher in self.watchers]


def read(document: bytes) -> SeenDocument:
    """The document; AssertionError where it is none that a reader could use."""
    root = ET.fromstring(document)
    assert root.tag == f"{WATCHERINFO}watcherinfo"
    (listed,) = root.findall(f"{WATCHERINFO}watcher-list")
    watchers = [
        SeenWatcher(
            item.attrib["id"], (item.text or "").strip(), item.attrib["status"], item.attrib["event"], item.attrib
        )
        for item in listed.findall(f"{WATCHERINFO}watcher")
    ]
    return SeenDocument(
        int(root.attrib["version"]),
        root.attrib["state"],
        listed.attrib["resource"],
        listed.attrib["package"],
        watchers,
    )


@dataclass
class WatcherTable:
    """What the reader of a subscription's documents knows; it counts them."""

    version: int = -1
    watchers: dict[str, SeenWatcher] = field(default_factory=dict)
    lost: list[SeenWatcher] = field(default_factory=list)
    """Every watcher that was shown as terminated, each time it was."""
    gaps_allowed: bool = False
    """A number may be left out before a full document: who had given it out died."""

    def take(self, document: bytes) -> SeenDocument:
        """Take in the next document: the first is full, the numbers have no gap."""
        seen = read(document)
        gap = seen.version - self.version - 1
        assert gap == 0 or (gap > 0 and self.gaps_allowed and seen.state == "full"), (self.version, seen)
        assert seen.state in ({"full"} if self.version < 0 else {"full", "partial"})
        self.version = seen.version
        if seen.state == "full":
            self.watchers.clear()
        assert len({watcher.id for watcher in seen.watchers}) == len(seen.watchers), seen
        for watcher in seen.watchers:
            if watcher.status == "terminated":
                self.watchers.pop(watcher.id, None)
                self.lost.append(watcher)
            else:
                self.watchers[watcher.id] = watcher
        return seen

    @property
    def what(self) -> list[tuple[str, str, str]]:
        """What is known of each watcher, in the order of their addresses."""
        return sorted(watcher.what for watcher in self.watchers.values())
