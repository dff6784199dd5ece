"""Documents, composed once and shared by all watchers that see the same."""

from collections.abc import Sequence
from typing import NamedTuple

from notifier.domain.recent import Recent
from vedette.events.package import Publication
from vedette.events.registry import PACKAGES
from vedette.records import PublicationRecord
from vedette.rpc.contract import Document


class ViewKey(NamedTuple):
    """What a document depends on."""

    presentity_uri: str
    event: str
    version: int
    media_type: str


class Views:
    """The documents of late; `compositions` counts how many were made."""

    def __init__(self, limit: int) -> None:
        self._documents: Recent[ViewKey, Document] = Recent(limit)
        self.compositions = 0

    def get(self, key: ViewKey) -> Document | None:
        """A document that was composed before, None where there is none."""
        return self._documents.get(key)

    def compose(self, key: ViewKey, publications: Sequence[PublicationRecord]) -> Document:
        """The document of a presentity that consists of these publications, in any order."""
        newest_first = sorted(publications, key=lambda p: (-p.version, p.publication_id))
        body = PACKAGES[key.event].compose(
            key.presentity_uri,
            [Publication(p.publication_id, p.content_type, p.body) for p in newest_first],
            key.media_type,
        )
        self.compositions += 1
        document = Document(key.media_type, body)
        self._documents.put(key, document)
        return document
