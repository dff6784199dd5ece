"""The `dialog` package (RFC 4235): the lamps of lines."""

from collections.abc import Sequence

from vedette.documents import dialog_info
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication, Succession

DIALOG_INFO_TYPE = "application/dialog-info+xml"
SCOPE_LENGTH = 6


def check(_media_type: str, body: bytes) -> str | None:
    """Why the body cannot be published, None where it can."""
    return dialog_info.check(body)


def documents_of(publications: Sequence[Publication]) -> list[dialog_info.PublishedDialogs]:
    """The publications as composition takes them."""
    return [
        dialog_info.PublishedDialogs(item.body, item.publication_id.hex()[:SCOPE_LENGTH]) for item in publications
    ]


def _compose(
    entity: str, publications: Sequence[Publication], _media_type: str, preferences: Preferences
) -> VersionedDocument:
    return dialog_info.compose(entity, documents_of(publications), single=preferences.force_single_dialog)


DIALOG = EventPackage(
    name="dialog",
    publish_types=(DIALOG_INFO_TYPE,),
    notify_types=(DIALOG_INFO_TYPE,),
    default_expires=3600,
    check=check,
    compose=_compose,
    succession=Succession(
        merge=dialog_info.merge,
        remains=dialog_info.remains,
        single_call=dialog_info.single_call,
        is_provisional=dialog_info.is_provisional,
    ),
)
