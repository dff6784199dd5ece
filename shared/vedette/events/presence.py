"""The `presence` package (RFC 3856)."""

from collections.abc import Sequence

from vedette.documents import call_presence, dialog_info, pidf, xpidf
from vedette.documents.versioned import VersionedDocument
from vedette.events.dialog import DIALOG, documents_of
from vedette.events.package import EventPackage, Mixture, Preferences, Publication
from vedette.rules.permissions import Sight
from vedette.rules.sphere import sphere_of
from vedette.rules.transform import see

PIDF_TYPE = "application/pidf+xml"
XPIDF_TYPE = "application/xpidf+xml"
SCOPE_LENGTH = 6
_SEEN = "0" * SCOPE_LENGTH
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


def _compose_seen(
    entity: str, publications: Sequence[Publication], media_type: str, sight: Sight
) -> VersionedDocument:
    whole = _compose(entity, publications, PIDF_TYPE, Preferences())
    seen = see(whole.body, sight).document
    if media_type == XPIDF_TYPE:
        seen = xpidf.compose(entity, [pidf.PublishedDocument(seen, _SEEN)])
    return VersionedDocument(seen)


def published_sphere(entity: str, event: str, publications: Sequence[Publication]) -> str | None:
    """The sphere that publications (the newest state first) tell together; None: undefined, as in other events."""
    if event != PRESENCE.name or not publications:
        return None
    return sphere_of(_compose(entity, publications, PIDF_TYPE, Preferences()).body)


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
    compose_seen=_compose_seen,
    neutral_is_optional=True,
    mixture=Mixture(event=DIALOG.name, publications=_calls),
)
