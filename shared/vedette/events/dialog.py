"""The `dialog` package (RFC 4235): the lamps of lines."""

from collections.abc import Sequence
from urllib.parse import quote, unquote

from vedette.documents import dialog_info
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication, Succession
from vedette.sip.event_header import EventHeader

DIALOG_INFO_TYPE = "application/dialog-info+xml"
SCOPE_LENGTH = 6
_SELECTING = ("call-id", "to-tag", "from-tag")
"""The tag of To is the local one of the presentity, that of From the remote one."""


def check(_media_type: str, body: bytes) -> str | None:
    """Why the body cannot be published, None where it can."""
    return dialog_info.check(body)


def documents_of(publications: Sequence[Publication]) -> list[dialog_info.PublishedDialogs]:
    """The publications as composition takes them."""
    return [
        dialog_info.PublishedDialogs(item.body, item.publication_id.hex()[:SCOPE_LENGTH]) for item in publications
    ]


def part_of(event: EventHeader) -> str:
    """What an Event header with call-id and to-tag, and perhaps from-tag, asks for (section 3.2).

    Other combinations have no meaning, and get everything.
    """
    asked = dict(event.parameters)
    if not asked.get("call-id") or not asked.get("to-tag"):
        return ""
    return "".join(f";{name}={quote(asked.get(name) or '', safe='')}" for name in _SELECTING if asked.get(name))


def selection(media_type: str) -> dialog_info.Selection | None:
    """What `part_of` has added to a media type."""
    wanted = {name: unquote(value) for name, _, value in (item.partition("=") for item in media_type.split(";")[1:])}
    if not wanted:
        return None
    return dialog_info.Selection(wanted["call-id"], wanted["to-tag"], wanted.get("from-tag"))


def _compose(
    entity: str, publications: Sequence[Publication], media_type: str, preferences: Preferences
) -> VersionedDocument:
    return dialog_info.compose(
        entity,
        documents_of(publications),
        only=selection(media_type),
        single=preferences.force_single_dialog,
    )


DIALOG = EventPackage(
    name="dialog",
    publish_types=(DIALOG_INFO_TYPE,),
    notify_types=(DIALOG_INFO_TYPE,),
    default_expires=3600,
    check=check,
    compose=_compose,
    part_of=part_of,
    succession=Succession(
        merge=dialog_info.merge,
        remains=dialog_info.remains,
        single_call=dialog_info.single_call,
        is_provisional=dialog_info.is_provisional,
    ),
)
