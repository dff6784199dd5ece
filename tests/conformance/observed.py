"""What the tests look at besides the wire: the REST API of the set, and the inside of a presence document."""

import asyncio
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from tests.phone import Dialog, Message, Phone
from tests.running_set import RunningSet
from tests.wait import until

PIDF = "{urn:ietf:params:xml:ns:pidf}"


def tuples(document: bytes) -> dict[str, str]:
    """The tuples of a presence document in order: id and what `basic` says."""
    root = ET.fromstring(document)
    assert root.tag == f"{PIDF}presence"
    found = [
        (str(item.get("id")), item.findtext(f"{PIDF}status/{PIDF}basic") or "") for item in root.iter(f"{PIDF}tuple")
    ]
    assert len({name for name, _ in found}) == len(found), document
    return dict(found)


def notes(document: bytes) -> list[str]:
    """The notes of a presence document, in order."""
    return [note.text or "" for note in ET.fromstring(document).iter(f"{PIDF}note")]


def saying(note: str) -> Callable[[Message], bool]:
    """Whether a NOTIFY has this note and no other."""
    return lambda notify: notes(notify.body) == [note]


async def publications(running: RunningSet, uri: str, event: str = "presence") -> list[dict[str, Any]]:
    """The publications of a presentity that are alive."""
    view: dict[str, Any] = await running.get(f"/api/v1/presentities/{uri}", event=event)
    return list(view.get("publication_list", []))


async def subscriptions(running: RunningSet, presentity: str) -> list[dict[str, Any]]:
    """The live subscriptions to a presentity."""
    page: dict[str, Any] = await running.get("/api/v1/subscriptions", presentity=presentity)
    return list(page["items"])


async def bindings(running: RunningSet, user: str) -> list[dict[str, Any]]:
    """Where a user has registered."""
    page: dict[str, Any] = await running.get("/api/v1/registrations", user=user)
    return list(page["items"])


async def subscription(running: RunningSet, dialog: Dialog) -> dict[str, Any] | None:
    """One live subscription, None where it has ended."""
    view: dict[str, Any] = await running.get(f"/api/v1/subscriptions/{dialog.to_tag}")
    return view if "call_id" in view else None


async def until_ended(running: RunningSet, *dialogs: Dialog) -> None:
    """Return when none of the subscriptions is left."""

    async def ended() -> bool:
        left = await asyncio.gather(*(subscription(running, dialog) for dialog in dialogs))
        return not any(left)

    await until(ended, "the subscriptions end")


async def fetched(phone: Phone, presentity: str) -> Message:
    """The NOTIFY of a fetch: what a new watcher sees."""
    _, notify = await phone.subscribed(presentity, expires=0)
    assert notify.state == "terminated"
    return notify
