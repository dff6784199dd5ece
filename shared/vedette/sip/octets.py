"""Text for headers that need not be UTF-8.

Phones put Latin-1 into display names. Octets that are no UTF-8 become characters of the private use area
(U+F780 to U+F7FF), which, unlike lone surrogates, may travel through RPC and Postgres, and become the same octets
again on the wire.
"""

import codecs
import re

_FIRST = 0xF700
_PRIVATE = re.compile("[\uf780-\uf7ff]")


def _to_private(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    raw = error.object[error.start : error.end]
    return "".join(chr(_FIRST + octet) for octet in raw), error.end


codecs.register_error("vedette.private", _to_private)


def decode(data: bytes) -> str:
    """The text of these octets; every sequence of octets has one."""
    return data.decode("utf-8", "vedette.private")


def encode(text: str) -> bytes:
    """The octets that `decode` made the text from."""
    if text.isascii() or not _PRIVATE.search(text):
        return text.encode("utf-8", "replace")
    return _PRIVATE.sub(lambda match: chr(0xDC00 + ord(match.group()) - _FIRST), text).encode(
        "utf-8", "surrogateescape"
    )
