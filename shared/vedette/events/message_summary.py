"""The `message-summary` package (RFC 3842): the lamp of a mailbox."""

from collections.abc import Sequence

from vedette.documents import message_summary
from vedette.documents.message_summary import Summary
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication

SUMMARY_TYPE = "application/simple-message-summary"


def _check(_media_type: str, body: bytes) -> str | None:
    return message_summary.check(body)


def _compose(
    entity: str, publications: Sequence[Publication], _media_type: str, _preferences: Preferences
) -> VersionedDocument:
    """Of several summaries the one that came last; one that can no longer be read counts as not published."""
    readable = (item.body for item in publications if message_summary.check(item.body) is None)
    newest = next(map(message_summary.read, readable), Summary(waiting=False))
    return VersionedDocument(message_summary.compose(entity, newest))


MESSAGE_SUMMARY = EventPackage(
    name="message-summary",
    publish_types=(SUMMARY_TYPE,),
    notify_types=(SUMMARY_TYPE,),
    default_expires=3600,
    check=_check,
    compose=_compose,
)
