"""Names that follow from a request: its key, the publication and dialog it creates, tags that carry them.

Everything is derived, nothing is drawn at random, so that a copy of a request meets the row of its original
whichever edge and replica it reaches (invariant 2). Tags are unguessable without the cluster secret.
"""

import hashlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple

KEY_LENGTH = 16


class Presentity(NamedTuple):
    """What is published and watched: a resource and an event package. Tuples of these sort in lock order."""

    hash: int
    uri: str
    event: str


def presentity_hash(uri: str) -> int:
    """The 32-bit hash (signed, as Postgres has it) that every key of this presentity begins with."""
    unsigned = zlib.crc32(uri.encode("utf-8", "replace"))
    return unsigned - 0x1_0000_0000 if unsigned & 0x8000_0000 else unsigned


def presentity(uri: str, event: str) -> Presentity:
    """The presentity of an address-of-record and an event package."""
    return Presentity(presentity_hash(uri), uri, event)


def request_key(secret: bytes, parts: Sequence[str]) -> bytes:
    """The key of a request: a keyed hash (BLAKE2b) over its parts, 16 octets.

    The parts are method, Request-URI, Event, Call-ID, CSeq, From tag and the branch of the bottom Via: the sender's
    own, since a proxy that fails over changes the top one.
    """
    text = "\x00".join(parts).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=KEY_LENGTH, key=secret[:64]).digest()


def entity_tag(publication_id: bytes, sequence: int) -> str:
    """The SIP-ETag: the publication, which never changes, and a number that rises with each answer (RFC 3903)."""
    return f"{publication_id.hex()}.{sequence}"


def parse_entity_tag(tag: str) -> tuple[bytes, int] | None:
    """Publication id and number of a tag that we made, None for any other text."""
    head, dot, number = tag.partition(".")
    if not dot or len(head) != 2 * KEY_LENGTH or not _is_hex(head):
        return None
    if not (number.isascii() and number.isdigit()) or len(number) > 9 or str(int(number)) != number:
        return None
    return bytes.fromhex(head), int(number)


def to_tag(preference: str, presentity_hash_: int, dialog_id: bytes) -> str:
    """The To-tag of a dialog: `to_tag_pref`, the presentity's hash and the dialog's id."""
    prefix = f"{preference}." if preference else ""
    return f"{prefix}{presentity_hash_ & 0xFFFFFFFF:08x}.{dialog_id.hex()}"


def parse_to_tag(tag: str) -> tuple[int, bytes] | None:
    """Presentity hash and dialog id of a To-tag that we made, None for any other text."""
    parts = tag.split(".")
    if len(parts) < 2:
        return None
    hash_text, dialog_text = parts[-2:]
    if len(hash_text) != 8 or len(dialog_text) != 2 * KEY_LENGTH or not _is_hex(hash_text + dialog_text):
        return None
    unsigned = int(hash_text, 16)
    return unsigned - 0x1_0000_0000 if unsigned & 0x8000_0000 else unsigned, bytes.fromhex(dialog_text)


def watcher_id(dialog_id: bytes) -> str:
    """The id of a dialog in watcher information: its own, always the same, and no way back to the To-tag."""
    return hashlib.blake2b(dialog_id, digest_size=12, person=b"watcher id").hexdigest()


_HEX = frozenset("0123456789abcdef")


def _is_hex(text: str) -> bool:
    return _HEX.issuperset(text)
