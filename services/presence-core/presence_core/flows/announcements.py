"""What the cache and the notifiers have to learn after a commit."""

from collections.abc import Sequence
from typing import Protocol

from presence_core.domain.publish import LINGER, PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeVerdict
from vedette.records import ManifestRecord, PublicationRecord
from vedette.store.hash_tables import (
    Entry,
    dialog_entry,
    manifest_entry,
    publication_entry,
    publication_field,
    tombstone,
)

MANIFEST_SECONDS = 86400


class Announcer(Protocol):
    """Takes what is to be told; never blocks, never fails."""

    def announce(self, *, published: Sequence[Entry] = (), dialogs: Sequence[Entry] = (), wake: bool = False) -> None:
        """Write these cache entries and, with `wake`, ring the bell."""


def published_entries(command: PublishCommand, verdict: PublishVerdict) -> list[Entry]:
    """The cache entries after a PUBLISH was applied: the publication and the presentity's manifest."""
    if verdict.version is None:
        return []
    presentity = command.presentity
    alive = verdict.others
    if verdict.verdict == "removed":
        field = publication_field(presentity.uri, presentity.event, command.publication_id)
        publication = tombstone(presentity.hash, field, verdict.sequence, verdict.at)
    else:
        alive = (*alive, (command.publication_id, verdict.version))
        publication = publication_entry(
            presentity.hash,
            presentity.uri,
            presentity.event,
            PublicationRecord(
                publication_id=command.publication_id,
                version=verdict.version,
                sequence=verdict.sequence,
                content_type=command.content_type or "",
                body=command.body or b"",
                expires=verdict.at + (verdict.granted or LINGER),
                received=verdict.at,
            ),
        )
    manifest = manifest_entry(
        presentity.hash,
        presentity.uri,
        presentity.event,
        ManifestRecord(verdict.version, list(alive)),
        verdict.at + MANIFEST_SECONDS,
    )
    return [publication, manifest]


def dialog_entries(verdict: SubscribeVerdict) -> list[Entry]:
    """The cache entry after a SUBSCRIBE was applied."""
    return [] if verdict.record is None else [dialog_entry(verdict.record)]
