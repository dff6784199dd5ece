"""Dialog information as publishers write it and phones read it (RFC 4235), by other means than the server's."""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"
TYPE = "application/dialog-info+xml"


def call(
    state: str,
    call_id: str | None = "c1",
    *,
    name: str | None = None,
    local: str | None = None,
    remote: str | None = None,
    more: str = "",
) -> str:
    """One dialog element; its id is the Call-ID where nothing else is said, as Kamailio and OpenSIPS write it."""
    attributes = {"id": name or call_id, "call-id": call_id, "local-tag": local, "remote-tag": remote}
    written = "".join(f' {key}="{value}"' for key, value in attributes.items() if value is not None)
    return f"<dialog{written}><state>{state}</state>{more}</dialog>"


def dialogs(*calls: str, state: str = "full", entity: str = "sip:alice@example.com") -> bytes:
    """A document with these dialog elements."""
    return (
        f'<?xml version="1.0"?>\n<dialog-info xmlns="{NAMESPACE}" version="7" state="{state}" entity="{entity}">'
        f"{''.join(calls)}</dialog-info>"
    ).encode()


@dataclass(frozen=True)
class SeenDialogs:
    """A document as a phone reads it."""

    version: int
    state: str
    entity: str
    dialogs: list[tuple[str, str]]
    """Of each dialog its id and its state, in their order."""

    @property
    def states(self) -> list[str]:
        """The states, in their order."""
        return [state for _, state in self.dialogs]


def read(body: bytes) -> SeenDialogs:
    """What stands in a document; its ids are all different."""
    root = ET.fromstring(body)
    assert root.tag == f"{{{NAMESPACE}}}dialog-info"
    found = [
        (str(item.get("id")), item.findtext(f"{{{NAMESPACE}}}state") or "")
        for item in root.findall(f"{{{NAMESPACE}}}dialog")
    ]
    assert len({name for name, _ in found}) == len(found), body
    return SeenDialogs(int(root.get("version", "")), root.get("state", ""), root.get("entity", ""), found)
