"""What the server has to know about an event package (RFC 6665 section 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vedette.documents.watcherinfo import VersionedDocument, Watcher


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication's state as composition needs it."""

    publication_id: bytes
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPackage:
    """A row of the registry."""

    name: str
    publish_types: tuple[str, ...]
    """Media types a PUBLISH may carry; () where the package cannot be published (489)."""
    notify_types: tuple[str, ...]
    """Media types a NOTIFY may carry, the default first; Accept chooses among them."""
    default_expires: int
    """Seconds, where the request names none."""
    check: Callable[[str, bytes], str | None]
    """(media type, body) -> why it cannot be published, None where it can."""
    compose: Callable[[str, Sequence[Publication], str], bytes]
    """(presentity, publications with the newest state first, media type) -> document. With no publications the
    package's neutral document; b"" where the package has none."""
    neutral_is_optional: bool = False
    """Whether `notify_offline_body=0` leaves the neutral document out."""


class ComposeWatchers(Protocol):
    """How watcher information is written."""

    def __call__(self, entity: str, watchers: Sequence[Watcher], *, full: bool) -> VersionedDocument:
        """The document of a presentity; `full`: these are all its watchers, not only those that changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherInfoPackage(EventPackage):
    """A package whose state is the watchers of another one (RFC 3857).

    Its `compose` knows of no watchers: it makes the document of a presentity that nobody watches.
    """

    base: str
    """The package whose watchers it shows."""
    compose_watchers: ComposeWatchers
