"""The audit log: every change that somebody asked for over REST or with the command, with who and when."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import asyncpg

from vedette.store.database import Database

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_WRITE = """
INSERT INTO audit (actor, token_id, source, operation, target, domain, detail, status)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)
RETURNING id
"""
_FORGET = """
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < clock_timestamp() - $1::interval ORDER BY at LIMIT $2)
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who does what to whom; never a secret or a document."""

    actor: str
    source: str
    operation: str
    target: str
    domain: str | None
    """None: the whole system."""
    detail: Mapping[str, object] = field(default_factory=dict)
    token_id: str | None = None


async def write(connection: Connection, entry: AuditEntry, status: int) -> None:
    """Write the entry in the transaction of its change. `status`: how the request is answered."""
    await connection.execute(_WRITE, *_values(entry, status))


async def begin(database: Database, entry: AuditEntry) -> int:
    """Write that the change is about to be made elsewhere; the number for `end`. Raises StoreError."""
    rows = await database.fetch(_WRITE, *_values(entry, None))
    return int(rows[0]["id"])


async def end(database: Database, number: int, status: int) -> None:
    """Write what became of it. Raises StoreError."""
    await database.fetch("UPDATE audit SET status = $2 WHERE id = $1", number, status)


async def forget_older_than(database: Database, age: timedelta, limit: int) -> int:
    """Delete so many entries at most that are older; how many. Raises StoreError."""
    return len(await database.fetch(_FORGET, age, limit))


def _values(entry: AuditEntry, status: int | None) -> tuple[object, ...]:
    detail = json.dumps(entry.detail, ensure_ascii=False, default=str)
    return (
        entry.actor,
        entry.token_id,
        entry.source,
        entry.operation,
        entry.target,
        entry.domain,
        detail.replace("\\u0000", "\\ufffd"),
        status,
    )
