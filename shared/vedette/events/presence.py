"""The `presence` package (RFC 3856)."""

from collections.abc import Sequence

from vedette.documents import call_presence, dialog_info, pidf, xpidf
from vedette.documents.versioned import VersionedDocument
from vedette.events.dialog import DIALOG, documents_of
from vedette.events.package import EventPackage, Mixture, Preferences, Publication

PIDF_TYPE = "application/pidf+xml"
XPIDF_TYPE = "application/xpidf+xml"
SCOPE_LENGTH = 6
CALLS = bytes(16)
"""The id of the publication that stands for calls; those of others are digests."""


def _check(_media_type: str, body: bytes) -> str | None:
    return pidf.check(body)


def _compose(
    entity: str, publications: Sequence[Publication], media_type: str, _preferences: Preferences
) -> VersionedDocument:
    documents = [pidf.PublishedDocument(item.body, item.publication_id.hex()[:SCOPE_LENGTH]) for item in publications]
    compose = xpidf.compose if media_type == XPIDF_TYPE else pidf.compose
    return VersionedDocument(compose(entity, documents))


def _calls(publications: Sequence[Publication]) -> list[Publication]:
    body = call_presence.compose(dialog_info.states(documents_of(publications)))
    return [] if body is None else [Publication(CALLS, PIDF_TYPE, body)]


PRESENCE = EventPackage(
    name="presence",
    publish_types=(PIDF_TYPE,),
    notify_types=(PIDF_TYPE, XPIDF_TYPE),
    default_expires=3600,
    check=_check,
    compose=_compose,
    neutral_is_optional=True,
    mixture=Mixture(event=DIALOG.name, publications=_calls),
)
