"""The table of bindings (`location`): who may write it, and what is done by hand."""

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg

LOCK_CLASS = 0x7267
"""Of the advisory locks that whoever writes the rows of a user holds."""

_LOCK = """
SELECT pg_advisory_xact_lock($1, k.hash)
FROM (SELECT DISTINCT hash FROM unnest($2::int4[]) AS u (hash) ORDER BY hash OFFSET 0) AS k
"""
# As one that is removed by REGISTER it is kept for a while; its key is nobody's: no REGISTER is a copy of this.
_REMOVE = """
UPDATE location AS l
SET expires = clock_timestamp(), last_modified = clock_timestamp(), last_key = '', follows = NULL
WHERE l.presentity_hash = $1 AND l.username = $2 AND l.domain = $3 AND l.ruid = $4
    AND l.expires > clock_timestamp()
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def lock_users(connection: Connection, hashes: Sequence[int]) -> None:
    """Keep everybody else from writing the rows of users with these hashes, until the transaction ends."""
    await connection.fetch(_LOCK, LOCK_CLASS, list(hashes))


async def remove(connection: Connection, hash_: int, username: str, domain: str, ruid: str) -> int:
    """End a binding of a user; how many there were. Within a transaction."""
    await lock_users(connection, [hash_])
    return int((await connection.execute(_REMOVE, hash_, username, domain, ruid)).rpartition(" ")[2])
