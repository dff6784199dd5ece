"""Secrets that live in Postgres: made once, the same for all replicas."""

from collections.abc import Callable

import asyncpg

from vedette.store.database import Database

HMAC_SECRET = "hmac"  # noqa: S105 - its name
"""The cluster secret that request keys, publication ids and dialog tags are derived with."""


async def create(connection: "asyncpg.Connection[asyncpg.Record]", name: str, make: Callable[[], bytes]) -> bool:
    """Whether the secret was made now; False where it was there."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE secret IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT EXISTS (SELECT FROM secret WHERE name = $1)", name):
            return False
        await connection.execute("INSERT INTO secret (name, value) VALUES ($1, $2)", name, make())
        return True


async def read(database: Database, name: str) -> bytes | None:
    """The secret, None where it has not been made."""
    rows = await database.fetch("SELECT value FROM secret WHERE name = $1 ORDER BY created DESC LIMIT 1", name)
    return bytes(rows[0]["value"]) if rows else None
