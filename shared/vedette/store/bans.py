"""The table of bans: what edges report, what they ask for, and what is done by hand."""

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg

from vedette.rpc.contract import Ban
from vedette.store.database import Database

MAX_ROWS = 50_000
"""Bans that edges may have in the table; more are known only to the edge that made them."""
MAX_TOLD = 10_000
KEPT = "1 day"
"""How long a ban that is over is kept: a source that comes again within that time has its strikes."""

# Rows are swept and written in the order of their keys, as everywhere, so that two reports never wait for each other.
_SWEEP = f"""
DELETE FROM ban WHERE (source, username) IN (
    SELECT source, username FROM ban WHERE until < now() - interval '{KEPT}' AND changed < now() - interval '1 minute'
    ORDER BY source, username LIMIT 1000 FOR UPDATE SKIP LOCKED
)
"""  # noqa: S608 - a constant
_REPORT = f"""
INSERT INTO ban AS b (source, username, until, strikes, reason)
SELECT r.source, r.username, now() + make_interval(secs => r.seconds), r.strikes, r.reason
FROM unnest($1::text[], $2::text[], $3::float8[], $4::int4[], $5::text[])
    AS r (source, username, seconds, strikes, reason)
WHERE (SELECT count(*) FROM ban) < {MAX_ROWS}
ORDER BY r.source COLLATE "C", r.username COLLATE "C"
ON CONFLICT (source, username) DO UPDATE
SET until = greatest(b.until, excluded.until), strikes = excluded.strikes, reason = excluded.reason, lifted = false,
    changed = clock_timestamp()
"""  # noqa: S608
# A statement that was slow to commit has an older time than what was told meanwhile: hence the margin.
_TELL = f"""
SELECT extract(epoch FROM now())::float8 AS now, b.source, b.username,
       extract(epoch FROM b.until - now())::float8 AS seconds, b.strikes, b.reason, b.lifted
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT * FROM ban
    WHERE changed > to_timestamp($1) - interval '10 seconds' AND (lifted OR until > now())
    ORDER BY changed DESC LIMIT {MAX_TOLD}
) AS b ON true
"""  # noqa: S608
_ADD = """
INSERT INTO ban AS b (source, until, strikes, reason) VALUES ($1, now() + make_interval(secs => $2), 1, $3)
ON CONFLICT (source, username) DO UPDATE
SET until = excluded.until, reason = excluded.reason, lifted = false, changed = clock_timestamp()
"""
_LIFT = """
UPDATE ban SET lifted = true, until = now(), strikes = 0, changed = clock_timestamp()
WHERE source = $1 AND ($2::text IS NULL OR username = $2) AND until > now()
"""
_LIST = """
SELECT source, username, until, strikes, reason FROM ban WHERE until > now() ORDER BY until DESC, source, username
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def report(database: Database, bans: Sequence[Ban]) -> None:
    """Put what an edge has banned into the table; of two bans of one source the longer one counts. StoreError."""
    await database.fetch(_SWEEP)
    await database.fetch(
        _REPORT,
        [ban.source for ban in bans],
        [ban.username for ban in bans],
        [ban.seconds for ban in bans],
        [ban.strikes for ban in bans],
        [ban.reason for ban in bans],
    )


async def changes(database: Database, since: float) -> tuple[float, list[Ban]]:
    """The time now, and what is banned or was lifted since that time, seconds since the epoch. Raises StoreError.

    What changed shortly before may come again.
    """
    rows = await database.fetch(_TELL, since)
    bans = [
        Ban(row["source"], row["username"], row["seconds"], row["strikes"], row["reason"], row["lifted"])
        for row in rows
        if row["source"] is not None
    ]
    return rows[0]["now"], bans


async def add(connection: Connection, source: str, seconds: float, reason: str) -> None:
    """Ban a source, as `source_of` names it, for so long from now on."""
    await connection.execute(_ADD, source, seconds, reason)


async def lift(connection: Connection, source: str, username: str | None) -> int:
    """End the bans of a source, or that of one user there ("": that of all it sends); how many there were."""
    return int((await connection.execute(_LIFT, source, username)).rpartition(" ")[2])


async def current(connection: Connection) -> list[asyncpg.Record]:
    """source, username, until, strikes and reason of all bans, the longest first."""
    return list(await connection.fetch(_LIST))
