"""The package `dialog` with the parameter `sla`: shared lines (bridged line appearances, draft-anil-sipping-bla).

All phones of a line subscribe with its user in their Contact, and each that uses the line says so in a PUBLISH, which
is told to all the others.
"""

from collections.abc import Sequence
from functools import partial

from vedette.documents import dialog_info
from vedette.documents.versioned import VersionedDocument
from vedette.events.dialog import DIALOG, DIALOG_INFO_TYPE, check, documents_of
from vedette.events.package import EventPackage, Preferences, Publication, Succession


def _compose(
    entity: str, publications: Sequence[Publication], _media_type: str, _preferences: Preferences
) -> VersionedDocument:
    """All dialogs, whatever `force_single_dialog` says: a phone shows an appearance of the line for each."""
    return dialog_info.compose(entity, documents_of(publications), line=True)


DIALOG_SLA = EventPackage(
    name="dialog;sla",
    publish_types=(DIALOG_INFO_TYPE,),
    notify_types=(DIALOG_INFO_TYPE,),
    default_expires=DIALOG.default_expires,
    check=check,
    compose=_compose,
    succession=Succession(
        merge=partial(dialog_info.merge, line=True),
        remains=dialog_info.remains,
        single_call=dialog_info.single_call,
        is_provisional=dialog_info.is_provisional,
    ),
    watches_line=True,
)
