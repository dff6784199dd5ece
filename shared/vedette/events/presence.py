"""The `presence` package (RFC 3856)."""

from collections.abc import Sequence

from vedette.documents import pidf
from vedette.events.package import EventPackage, Publication

PIDF_TYPE = "application/pidf+xml"
SCOPE_LENGTH = 6


def _check(_media_type: str, body: bytes) -> str | None:
    return pidf.check(body)


def _compose(entity: str, publications: Sequence[Publication], _media_type: str) -> bytes:
    return pidf.compose(
        entity,
        [pidf.PublishedDocument(item.body, item.publication_id.hex()[:SCOPE_LENGTH]) for item in publications],
    )


PRESENCE = EventPackage(
    name="presence",
    publish_types=(PIDF_TYPE,),
    notify_types=(PIDF_TYPE,),
    default_expires=3600,
    check=_check,
    compose=_compose,
    neutral_is_optional=True,
)
