"""Changing a header of a message that somebody else, or the phone, has written."""

import re

COMPACT = {"via": "v", "contact": "m", "from": "f", "to": "t", "call-id": "i", "content-length": "l", "event": "o"}


def _rows(name: str) -> re.Pattern[bytes]:
    names = "|".join(filter(None, (re.escape(name), COMPACT.get(name.lower()))))
    return re.compile(rf"(?im)^(?P<name>{names})[ \t]*:(?P<value>[^\r\n]*)\r\n".encode())


def without(data: bytes, name: str) -> bytes:
    """The message without the rows of that header."""
    head, separator, body = data.partition(b"\r\n\r\n")
    return _rows(name).sub(b"", head + b"\r\n") + separator[2:] + body


def with_value(data: bytes, name: str, value: str) -> bytes:
    """The message with another value in the first row of that header, which is added where there is none."""
    head, separator, body = data.partition(b"\r\n\r\n")
    head += b"\r\n"
    if _rows(name).search(head) is None:
        head += f"{name}: {value}\r\n".encode()
    else:
        head = _rows(name).sub(lambda row: row["name"] + f": {value}\r\n".encode(), head, count=1)
    return head + separator[2:] + body


def with_row(data: bytes, row: str) -> bytes:
    """The message with one more header row at the end of its headers."""
    head, separator, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n" + row.encode() + separator + body


def with_uri(data: bytes, uri: str) -> bytes:
    """The request with another Request-URI."""
    line, separator, rest = data.partition(b"\r\n")
    method, _, version = line.split(b" ")
    return b" ".join((method, uri.encode(), version)) + separator + rest
