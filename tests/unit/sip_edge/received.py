"""Requests as the endpoint hands them to the edge."""

from collections.abc import Mapping
from types import MappingProxyType

from vedette.sip.message import Request
from vedette.sip.reader import read_message

BASE = {
    "Via": "SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKphone;rport",
    "Max-Forwards": "70",
    "From": '"Bob" <sip:bob@example.net>;tag=theirs',
    "To": "<sip:alice@example.com>",
    "Call-ID": "call-1",
    "CSeq": "7 {method}",
}


def request(
    method: str,
    uri: str = "sip:alice@example.com",
    *headers: tuple[str, str],
    body: bytes = b"",
    instead: Mapping[str, str | None] = MappingProxyType({}),
) -> Request:
    """A request that passes `check`; `instead` has other values for mandatory headers, None for none at all."""
    base = {**BASE, **instead}
    rows = [(name, value.replace("{method}", method)) for name, value in base.items() if value is not None]
    lines = [f"{method} {uri} SIP/2.0", *(f"{name}: {value}" for name, value in (*rows, *headers))]
    data = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    message = read_message(data)
    assert isinstance(message, Request)
    message.check()
    return message
