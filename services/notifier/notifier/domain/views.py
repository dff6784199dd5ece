"""Documents, composed once and shared by all watchers that see the same."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from notifier.domain.recent import Recent
from notifier.domain.watchers import Span, WatcherRows, shown
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import Preferences, Publication, WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.records import PublicationRecord
from vedette.rpc.contract import Document

MAX_OCTETS = 64 * 1024 * 1024
"""Of the documents that are remembered, with what goes with each."""
_OVERHEAD = 1000


class ViewKey(NamedTuple):
    """What a document depends on."""

    presentity_uri: str
    event: str
    version: int
    media_type: str
    """With what the watcher wants of the state, where that is not all of it, as parameters."""
    span: Span | None = None
    """Watcher information: what it shows of the watchers."""


class View(NamedTuple):
    """What watchers see: the document, before anything of a single dialog is put into it, and its digest."""

    document: Document
    digest: bytes
    """b"" for one that is never held back."""


NO_VIEW = b"-"
"""In place of the digest, for a watcher that is shown nothing yet; no digest is so short."""


def digest_of(document: Document) -> bytes:
    """16 octets that differ where the media type or the body does."""
    digest = hashlib.blake2b(document.content_type.encode() + b"\0", digest_size=16)
    digest.update(document.body)
    return digest.digest()


class Views:
    """The documents of late; `compositions` counts how many were made."""

    def __init__(
        self,
        limit: int,
        *,
        offline_body: bool = True,
        preferences: Preferences = Preferences(),  # noqa: B008 - frozen
        mix_dialog_presence: bool = False,
    ) -> None:
        """Without `offline_body` nothing stands for what is not published, where the package allows that.

        `mix_dialog_presence`: presence shows calls.
        """
        self._preferences = preferences
        self._mixes = mix_dialog_presence
        self._views: Recent[ViewKey, View] = Recent(limit, max_weight=MAX_OCTETS, weigh=_octets)
        self._offline_body = offline_body
        self.compositions = 0

    def get(self, key: ViewKey) -> View | None:
        """A document that was composed before, None where there is none."""
        return self._views.get(key)

    def mixed_into(self, event: str) -> str | None:
        """The other event whose publications the documents of this one show as well; None where they do not."""
        mixture = PACKAGES[event].mixture if self._mixes else None
        return None if mixture is None else mixture.event

    def compose(
        self, key: ViewKey, publications: Sequence[PublicationRecord], mixed: Sequence[PublicationRecord] = ()
    ) -> View:
        """The document of a presentity that consists of these publications, in any order.

        `mixed`: those of the event that is mixed into it.
        """
        package = PACKAGES[key.event]
        newest_first = _newest_first(publications)
        if package.mixture is not None and mixed:
            newest_first[:0] = package.mixture.publications(_newest_first(mixed))
        composed = VersionedDocument(b"")
        if newest_first or self._offline_body or not package.neutral_is_optional:
            composed = package.compose(key.presentity_uri, newest_first, key.media_type, self._preferences)
        self.compositions += 1
        document = Document(key.media_type.partition(";")[0], *composed)
        view = View(document, digest_of(document))
        self._views.put(key, view)
        return view

    def compose_watchers(self, key: ViewKey, watchers: WatcherRows, at: float, expires_offset: int) -> View:
        """The watcher information of a presentity at that time, which is why it is not kept."""
        package = PACKAGES[key.event]
        if not isinstance(package, WatcherInfoPackage):
            raise TypeError(f"{key.event} is no watcher information")
        rows = [shown(row, at, expires_offset) for row in watchers.rows]
        body, version_at = package.compose_watchers(key.presentity_uri, rows, full=watchers.full)
        self.compositions += 1
        return View(Document(key.media_type, body, version_at), b"")


def watched_by(event: str) -> str | None:
    """The event whose watchers an event shows; None where it shows none."""
    package = PACKAGES.get(event)
    return package.base if isinstance(package, WatcherInfoPackage) else None


def _newest_first(publications: Sequence[PublicationRecord]) -> list[Publication]:
    return [
        Publication(p.publication_id, p.content_type, p.body)
        for p in sorted(publications, key=lambda p: (-p.version, p.publication_id))
    ]


def _octets(key: ViewKey, view: View) -> int:
    return len(view.document.body) + len(key.presentity_uri) + _OVERHEAD
