"""What the calls of a presentity add to its presence (`mix_dialog_presence`; RFC 4480 section 3.2, row CMP-15).

It is a PIDF document like any other, composed with those that are published: an open tuple, since whoever has a call
is there, and a person who is on the phone, with a note. As in OpenSIPS, a call that is being set up counts, and only
the note tells it from one that is answered.
"""

from collections.abc import Set as AbstractSet

from vedette.documents.dialog_info import CONFIRMED, EARLY, PROCEEDING, TRYING
from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID

ANSWERED_NOTE = "On the phone"
CALLING_NOTE = "Calling"


def compose(states: AbstractSet[int]) -> bytes | None:
    """The document that calls in these states make; None where there is none, or all have ended."""
    if CONFIRMED in states:
        return _document(ANSWERED_NOTE)
    return None if states.isdisjoint({TRYING, PROCEEDING, EARLY}) else _document(CALLING_NOTE)


def _document(note: str) -> bytes:
    return (
        f'<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" xmlns:rpid="{RPID}" entity="">'
        '<tuple id="call"><status><basic>open</basic></status></tuple>'
        f"<note>{note}</note>"
        '<dm:person id="caller"><rpid:activities><rpid:on-the-phone/></rpid:activities>'
        f"<dm:note>{note}</dm:note></dm:person></presence>"
    ).encode()
