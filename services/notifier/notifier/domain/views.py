"""Documents, composed once and shared by all watchers that see the same."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from notifier.domain.claims import Claim
from notifier.domain.recent import Recent
from notifier.domain.watchers import Span, WatcherRows, shown
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import Preferences, Publication, WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.contract import Document
from vedette.rules.ruling import SHOWS_ALL, SHOWS_NOTHING, SHOWS_OFFLINE, sight_of

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
    shows: str = SHOWS_ALL
    """What rules let its watchers see, as `Ruling` has it."""


class ReadState(NamedTuple):
    """A presentity's publications as they were read."""

    publications: list[PublicationRecord]
    rules: int | None = None
    """The version of its rules as of the same moment; None: they are of the very version that was asked for."""


class View(NamedTuple):
    """What watchers see: the document, before anything of a single dialog is put into it, and its digest."""

    document: Document
    digest: bytes
    """b"" for one that is never held back."""
    changed: float = 0.0
    """When the publication that made it what it is was committed, by Postgres's time; 0.0: none did, or not known."""


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
        alive: list[Publication] = []
        if key.shows != SHOWS_OFFLINE:
            alive = newest_first(publications)
            if package.mixture is not None and mixed:
                alive[:0] = package.mixture.publications(newest_first(mixed))
        composed = VersionedDocument(b"")
        if alive and package.compose_seen is not None and key.shows != SHOWS_ALL:
            sight = sight_of(key.shows)
            composed = package.compose_seen(key.presentity_uri, alive, key.media_type, sight)
        elif alive or self._offline_body or not package.neutral_is_optional:
            composed = package.compose(key.presentity_uri, alive, key.media_type, self._preferences)
        self.compositions += 1
        document = Document(key.media_type.partition(";")[0], *composed)
        changed = max((p.received for p in publications if p.version == key.version), default=0.0)
        view = View(document, digest_of(document), changed)
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


def shown_digest(view: View | None) -> bytes:
    """What tells a view from others; None is a view of nothing."""
    return NO_VIEW if view is None else view.digest


def by_view(
    claims: Sequence[Claim], dialogs: Mapping[bytes, DialogRecord], shows: Mapping[bytes, str]
) -> dict[ViewKey | None, list[Claim]]:
    """The claims whose dialogs are known, by what their NOTIFYs show; None: nothing."""
    groups: dict[ViewKey | None, list[Claim]] = {}
    for claim in claims:
        dialog = dialogs.get(claim.dialog_id)
        if dialog is None:
            continue
        key = _view_key(claim, dialog.accept, shows.get(claim.dialog_id, SHOWS_NOTHING))
        group = groups.get(key)
        if group is None:
            groups[key] = [claim]
        else:
            group.append(claim)
    return groups


def _view_key(claim: Claim, media_type: str, shown: str) -> ViewKey | None:
    if shown == SHOWS_NOTHING:
        return None
    if shown == SHOWS_OFFLINE:
        # Who seems offline stays so: no change of the state shows through it.
        return ViewKey(claim.presentity_uri, claim.event, 0, media_type, None, shown)
    span = None if watched_by(claim.event) is None else Span(claim.since, claim.until, claim.whole)
    return ViewKey(claim.presentity_uri, claim.event, claim.version, media_type, span, shown)


@lru_cache(maxsize=64)
def watched_by(event: str) -> str | None:
    """The event whose watchers an event shows; None where it shows none."""
    package = PACKAGES.get(event)
    return package.base if isinstance(package, WatcherInfoPackage) else None


def newest_first(publications: Sequence[PublicationRecord]) -> list[Publication]:
    """Publications as composition takes them."""
    return [
        Publication(p.publication_id, p.content_type, p.body)
        for p in sorted(publications, key=lambda p: (-p.version, p.publication_id))
    ]


def _octets(key: ViewKey, view: View) -> int:
    return len(view.document.body) + len(key.presentity_uri) + _OVERHEAD
