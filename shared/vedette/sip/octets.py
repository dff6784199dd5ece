"""Text for headers that need not be UTF-8.

Phones put Latin-1 into display names, and a NUL behind a backslash is legal (RFC 4475 section 3.1.1.2). Octets that
are no UTF-8 become characters of the private use area (U+F780 to U+F7FF), and NUL becomes U+F700: unlike lone
surrogates and U+0000 these may travel through RPC and Postgres. They become the same octets again on the wire.
"""

import re

NUL = "\uf700"
"""What stands for the octet 0."""

_FIRST = 0xF700
_SURROGATES = 0xDC00
_PRIVATE = re.compile("[\uf700\uf780-\uf7ff]")
_ODD = re.compile("[\0\udc80-\udcff\uf700\uf780-\uf7ff]")


def decode(data: bytes) -> str:
    """The text of these octets; every sequence of octets has one of its own."""
    if data.isascii() and b"\0" not in data:
        return data.decode("ascii")
    return _ODD.sub(_to_private, data.decode("utf-8", "surrogateescape"))


def encode(text: str) -> bytes:
    """The octets that `decode` made the text from."""
    if text.isascii() or not _PRIVATE.search(text):
        return text.encode("utf-8", "replace")
    return _PRIVATE.sub(_to_octet, text).encode("utf-8", "surrogateescape")


def _to_private(match: re.Match[str]) -> str:
    character = match.group()
    if "\udc80" <= character <= "\udcff":
        return chr(ord(character) - _SURROGATES + _FIRST)
    # NUL, or a character that was sent and looks like a stand-in: taken apart, so that it comes back as it was
    return "".join(chr(_FIRST + octet) for octet in character.encode("utf-8"))


def _to_octet(match: re.Match[str]) -> str:
    return "\0" if match.group() == NUL else chr(ord(match.group()) - _FIRST + _SURROGATES)
