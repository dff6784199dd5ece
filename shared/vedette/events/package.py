"""What the server has to know about an event package (RFC 6665 section 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vedette.documents.dialog_info import SingleCall
from vedette.documents.versioned import VersionedDocument
from vedette.documents.watcherinfo import Watcher
from vedette.rules.permissions import Sight
from vedette.sip.event_header import EventHeader


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication's state as composition needs it."""

    publication_id: bytes
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Preferences:
    """What operators choose of how documents are composed."""

    force_single_dialog: bool = False
    """Only the most interesting dialog of a presentity is shown."""


@dataclass(frozen=True, slots=True)
class Succession:
    """For a package whose states follow from one another, so that a new body alone does not say what holds."""

    merge: Callable[[bytes, bytes], bytes]
    """(the body that a publication has, the one that changes it) -> the body that it has from now on."""
    remains: Callable[[bytes | None, bytes | None], bytes | None]
    """(the body that a publication has, the body of its removal) -> what is remembered of it for a while."""
    single_call: Callable[[bytes], SingleCall | None]
    """The call that a body is about, where it is about one; its end is the end of every publication about it."""
    is_provisional: Callable[[bytes], bool]
    """Whether a body holds for a short while only unless it is published again."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """For a package whose documents may show the state of another one, too.

    The SQL functions know it as well: a change of `event` raises the version of both.
    """

    event: str
    """The other package."""
    publications: Callable[[Sequence[Publication]], list[Publication]]
    """(its publications with the newest state first) -> what they add to those of this package."""


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
    compose: Callable[[str, Sequence[Publication], str, Preferences], VersionedDocument]
    """(presentity, publications with the newest state first, media type and what `part_of` has added to it,
    preferences) -> document. With no publications the package's neutral document."""
    compose_seen: Callable[[str, Sequence[Publication], str, Sight], VersionedDocument] | None = None
    """The same (of publications that are there) for watchers to whom rules show a part of it; None: they show all."""
    neutral_is_optional: bool = False
    """Whether `notify_offline_body=0` leaves the neutral document out."""
    part_of: Callable[[EventHeader], str] | None = None
    """Which part of the state an Event header asks for, as parameters behind the media type; "" for all of it."""
    succession: Succession | None = None
    mixture: Mixture | None = None
    """What `mix_dialog_presence=1` shows besides."""
    watches_line: bool = False
    """Whether a SUBSCRIBE means the user of its Contact in the domain of its From, which phones of a shared line have
    in common, and not its Request-URI."""


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
