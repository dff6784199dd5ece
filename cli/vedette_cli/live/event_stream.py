"""Server-sent events, read line by line (HTML Living Standard, section 9.2)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ServerEvent(NamedTuple):
    """One event."""

    id: str
    """The last id that was sent, with this event or before it."""
    kind: str
    data: str


def read_events(lines: Iterable[bytes], last_id: str = "") -> Iterator[ServerEvent]:
    """The events in a stream of lines; comments, and an event that the stream ends in, are none."""
    kind, data = "message", list[str]()
    for octets in lines:
        line = octets.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(last_id, kind, "\n".join(data))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and "\0" not in value:
            last_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
