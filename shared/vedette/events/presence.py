"""The `presence` package (RFC 3856)."""

from collections.abc import Sequence

from vedette.documents import pidf, xpidf
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication

PIDF_TYPE = "application/pidf+xml"
XPIDF_TYPE = "application/xpidf+xml"
SCOPE_LENGTH = 6


def _check(_media_type: str, body: bytes) -> str | None:
    return pidf.check(body)


def _compose(
    entity: str, publications: Sequence[Publication], media_type: str, _preferences: Preferences
) -> VersionedDocument:
    documents = [pidf.PublishedDocument(item.body, item.publication_id.hex()[:SCOPE_LENGTH]) for item in publications]
    compose = xpidf.compose if media_type == XPIDF_TYPE else pidf.compose
    return VersionedDocument(compose(entity, documents))


PRESENCE = EventPackage(
    name="presence",
    publish_types=(PIDF_TYPE,),
    notify_types=(PIDF_TYPE, XPIDF_TYPE),
    default_expires=3600,
    check=_check,
    compose=_compose,
    neutral_is_optional=True,
)
