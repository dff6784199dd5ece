"""What the two hash tables hold: copies of rows, in msgpack."""

import msgspec

from vedette.sip.flow import Flow


class DialogRecord(msgspec.Struct, array_like=True, frozen=True):
    """A subscription dialog at one revision: all that a NOTIFY needs and that only a SUBSCRIBE changes."""

    presentity_hash: int
    dialog_id: bytes
    revision: int
    presentity_uri: str
    event: str
    event_id: str
    call_id: str
    to_tag: str
    from_tag: str
    to_value: str
    from_value: str
    contact: str
    record_route: list[str]
    local_contact: str
    accept: str
    """The media type of its documents, with parameters where it wants a part of the state."""
    edge_instance: str
    edge_address: str
    flow: Flow
    expires: float
    """Postgres's time, seconds since the epoch."""
    reason: str
    watcher_username: str = ""
    watcher_domain: str = ""
    """Both are empty in copies that an earlier release made."""


class PublicationRecord(msgspec.Struct, array_like=True, frozen=True):
    """One publication as composition needs it; `version` is the presentity's when this body came."""

    publication_id: bytes
    version: int
    sequence: int
    content_type: str
    body: bytes
    expires: float
    received: float = 0.0
    """When the body came, by Postgres's time; 0.0: not known."""


class ManifestRecord(msgspec.Struct, array_like=True, frozen=True):
    """Which publications make up a presentity at one version, each with the version of its body."""

    version: int
    publications: list[tuple[bytes, int]]


def write_flow(flow: Flow) -> str:
    """The flow as `socket_info` holds it."""
    return f"{flow.transport}|{flow.host}|{flow.port}|{flow.connection}"


def read_flow(text: str) -> Flow:
    """The flow that `write_flow` wrote."""
    transport, host, port, connection = text.split("|")
    return Flow(transport, host, int(port), int(connection))


def join_routes(values: list[str]) -> str:
    """Record-Route values as the column holds them."""
    return "\n".join(values)


def split_routes(text: str) -> list[str]:
    """The values that `join_routes` joined."""
    return text.split("\n") if text else []
