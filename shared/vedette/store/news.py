"""What a ring of the bell carries: the cache entries that were just written, so that who is rung need not read them.

They are as good as entries of the cache: used only where their version is the one that Postgres just named.
"""

from collections.abc import Sequence

import msgspec

from vedette.store.hash_tables import Entry

MOST_NEWS = 256 * 1024
"""Octets; a notifier that hears of more reads it in the cache."""

Told = tuple[bytes, int, bytes]
"""Field, version and payload of an entry."""


class News(msgspec.Struct, array_like=True):
    """Entries of both tables."""

    database: int
    """The number of the database of Redis that has them: a channel is heard in all of them."""
    published: list[Told]
    dialogs: list[Told]


def write_news(database: int, published: Sequence[Entry], dialogs: Sequence[Entry]) -> bytes:
    """What a ring is to carry: nothing where there is too much of it."""
    if sum(len(entry.field) + len(entry.payload) for entry in (*published, *dialogs)) > MOST_NEWS:
        return b""
    return _encode(News(database, list(map(_told, published)), list(map(_told, dialogs))))


def _told(entry: Entry) -> Told:
    return entry.field, entry.version, entry.payload


_encode = msgspec.msgpack.Encoder().encode
read_news = msgspec.msgpack.Decoder(News).decode
"""What a ring has carried. Raises what `hash_tables.UNREADABLE` names for what is none of ours."""
