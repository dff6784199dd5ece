"""States in plain words (JSON, over HTTP) as the documents that phones publish."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lxml import etree

from vedette.documents.dialog_info import DIALOG_INFO
from vedette.documents.message_summary import Counts, Summary, compose
from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID

_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True)
class PlainPresence:
    """Whether somebody is there."""

    status: Literal["open", "closed"]
    note: str | None = None
    activities: Sequence[str] = ()
    contact: str | None = None
    name: str = "http"
    """The id of the tuple: what tells it from others of the same presentity."""


@dataclass(frozen=True, slots=True)
class PlainCall:
    """One call."""

    id: str
    state: Literal["trying", "proceeding", "early", "confirmed", "terminated"]
    direction: Literal["initiator", "recipient"] | None = None
    call_id: str | None = None
    local_tag: str | None = None
    remote_tag: str | None = None
    remote: str | None = None
    """URI of the other side."""
    remote_display: str | None = None


@dataclass(frozen=True, slots=True)
class PlainMessages:
    """Messages of one kind, like voice."""

    kind: str
    new: int
    old: int
    urgent_new: int | None = None
    urgent_old: int | None = None


def write_presence(entity: str, state: PlainPresence) -> bytes:
    """A PIDF document: one tuple and, with activities, one person (RFC 3863, RFC 4480). ValueError for bad text."""
    root = etree.Element(
        f"{{{PIDF}}}presence",
        {"entity": entity},
        nsmap={None: PIDF, "dm": DATA_MODEL, "rpid": RPID},  # type: ignore[dict-item]
    )
    tuple_ = etree.SubElement(root, f"{{{PIDF}}}tuple", id=state.name)
    status = etree.SubElement(tuple_, f"{{{PIDF}}}status")
    etree.SubElement(status, f"{{{PIDF}}}basic").text = state.status
    if state.contact is not None:
        etree.SubElement(tuple_, f"{{{PIDF}}}contact").text = state.contact
    if state.note is not None:
        etree.SubElement(tuple_, f"{{{PIDF}}}note").text = state.note
    if state.activities:
        person = etree.SubElement(root, f"{{{DATA_MODEL}}}person", id=f"p-{state.name}")
        activities = etree.SubElement(person, f"{{{RPID}}}activities")
        for activity in state.activities:
            etree.SubElement(activities, f"{{{RPID}}}{activity}")
    return _HEAD + etree.tostring(root, encoding="UTF-8")


def write_calls(entity: str, calls: Sequence[PlainCall]) -> bytes:
    """A dialog-info document with the whole state (RFC 4235). ValueError for text that XML does not have."""
    root = etree.Element(
        f"{{{DIALOG_INFO}}}dialog-info",
        {"version": "0", "state": "full", "entity": entity},
        nsmap={None: DIALOG_INFO},  # type: ignore[dict-item]
    )
    for call in calls:
        attributes = {
            "id": call.id,
            "call-id": call.call_id,
            "local-tag": call.local_tag,
            "remote-tag": call.remote_tag,
            "direction": call.direction,
        }
        given = {name: value for name, value in attributes.items() if value is not None}
        element = etree.SubElement(root, f"{{{DIALOG_INFO}}}dialog", given)
        etree.SubElement(element, f"{{{DIALOG_INFO}}}state").text = call.state
        if call.remote is not None:
            side = etree.SubElement(element, f"{{{DIALOG_INFO}}}remote")
            display = {} if call.remote_display is None else {"display": call.remote_display}
            etree.SubElement(side, f"{{{DIALOG_INFO}}}identity", display).text = call.remote
            etree.SubElement(side, f"{{{DIALOG_INFO}}}target", uri=call.remote)
    return _HEAD + etree.tostring(root, encoding="UTF-8")


def write_messages(entity: str, *, waiting: bool, account: str | None, messages: Sequence[PlainMessages]) -> bytes:
    """A message summary (RFC 3842)."""
    counts = tuple(
        Counts(
            f"{one.kind.capitalize()}-Message",
            one.new,
            one.old,
            None if one.urgent_new is None and one.urgent_old is None else (one.urgent_new or 0, one.urgent_old or 0),
        )
        for one in messages
    )
    return compose(entity, Summary(waiting, account, counts))
