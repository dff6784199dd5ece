"""Plain SQL files, numbered, applied once and in order (`NNNN_pre_name.sql` before new code, `_post_` after it)."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

REQUIRED_SCHEMA = 7
"""The number of the last migration that this code needs."""
OLDEST_POSTGRES = 15

_NAME = re.compile(r"(?P<number>[0-9]{4})_(?P<phase>pre|post)_(?P<name>[a-z0-9_]+)\.sql")
_LOCK = 0x7665_6465_7474_65  # "vedette"


class MigrationError(Exception):
    """The database cannot be brought to the schema; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    phase: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Path) -> list[Migration]:
    """The migrations in the folder, in order; MigrationError where a name or number is out of line."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: name it NNNN_pre_name.sql or NNNN_post_name.sql")
        found.append(Migration(int(match["number"]), match["phase"], match["name"], path.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"{folder}: the numbers of the migrations are not 1, 2, 3, ...")
    return found


async def apply(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> AsyncIterator[Migration]:
    """Apply what is missing, each in a transaction of its own, and yield each one that was applied.

    Several may try at once: one does it, the others wait. Raises MigrationError for a Postgres that is too old and
    for a migration that was changed after it had been applied.
    """
    major = connection.get_server_version().major
    if major < OLDEST_POSTGRES:
        raise MigrationError(f"PostgreSQL {major} is too old: Vedette needs {OLDEST_POSTGRES} or newer")
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration ("
            "number int4 PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
            "applied timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT number, checksum FROM schema_migration")
        applied = {row["number"]: row["checksum"] for row in rows}
        for migration in migrations:
            if migration.number in applied:
                if applied[migration.number] != migration.checksum:
                    raise MigrationError(
                        f"migration {migration.number:04d} ({migration.name}) was changed after it had been applied; "
                        "add a new one instead"
                    )
                continue
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.checksum,
                )
            yield migration
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


APPLIED = "SELECT coalesce(max(number), 0) AS number FROM schema_migration"
"""The query for the number of the last migration in the database."""
