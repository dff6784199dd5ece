"""Plain SQL files, numbered, each applied once: `NNNN_pre_name.sql` before new code, `NNNN_post_name.sql` after old.

Code of the release before goes on while `pre` is applied and afterwards; `post` removes what only that code used.
In either phase they are applied in the order of their numbers, and `post` only after every `pre`, so that a database
that is made new comes about as one that was upgraded did.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg

from vedette import VERSION

REQUIRED_SCHEMA = 23
"""The number of the last `pre` migration: this code needs it, and all before it, and runs on whatever comes later."""
OLDEST_POSTGRES = 15
ALIVE_WITHIN = 15.0
"""Seconds; a process that was heard of since then may still run."""

TRIES = 100
"""How often a migration is begun that does not get its locks beside the traffic."""
PAUSE = 0.2
"""Seconds between two of them, in which the traffic goes on."""
LOCK_TIMEOUT = "300ms"
"""Below Postgres's deadlock_timeout: where it and the traffic wait for each other, the migration gives way.

The requests that queue behind it wait for no longer either.
"""

_NAME = re.compile(r"(?P<number>[0-9]{4})_(?P<phase>pre|post)_(?P<name>[a-z0-9_]+)\.sql")
_LOCK = 0x7665_6465_7474_65  # "vedette"


class MigrationError(Exception):
    """The database cannot be brought to the schema; the text says what to do."""


class Phase(StrEnum):
    """When a migration may be applied."""

    PRE = "pre"
    """Before new code starts; old code goes on."""
    POST = "post"
    """After all old code has ended."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    phase: Phase
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
        text = path.read_text(encoding="utf-8")
        found.append(Migration(int(match["number"]), Phase(match["phase"]), match["name"], text))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"{folder}: the numbers of the migrations are not 1, 2, 3, ...")
    return found


def required_schema(migrations: Sequence[Migration]) -> int:
    """The number of the last one that code needs to start; 0 where there is none."""
    return max((migration.number for migration in migrations if migration.phase is Phase.PRE), default=0)


async def apply(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration], phase: Phase
) -> AsyncIterator[Migration]:
    """Apply what is missing of one phase, each in a transaction of its own, and yield each one that was applied.

    Several may try at once: one does it, the others wait. Raises MigrationError for a Postgres that is too old, for
    a migration that was changed after it had been applied, and for `post` where a `pre` is missing.
    """
    major = connection.get_server_version().major
    if major < OLDEST_POSTGRES:
        raise MigrationError(f"PostgreSQL {major} is too old: Vedette needs {OLDEST_POSTGRES} or newer")
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        waiting = await _missing(connection, migrations)
        first = next((migration for migration in waiting if migration.phase is Phase.PRE), None)
        if phase is Phase.POST and first is not None:
            raise MigrationError(f"{_told(first)} has to be applied first: run `vedette migrate --phase pre`")
        for migration in waiting:
            if migration.phase is not phase:
                continue
            await _apply_one(connection, migration)
            yield migration
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _apply_one(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    """Code that goes on meanwhile may hold the tables, or wait for one while it holds another: then try again."""
    for left in reversed(range(TRIES)):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.checksum,
                )
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
            if left == 0:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return


async def missing(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration], phase: Phase
) -> list[Migration]:
    """Those of a phase that the database does not have yet. Raises MigrationError where one was changed."""
    return [migration for migration in await _missing(connection, migrations) if migration.phase is phase]


async def _missing(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> list[Migration]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration ("
        "number int4 PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
        "applied timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT number, checksum FROM schema_migration")
    applied = {row["number"]: row["checksum"] for row in rows}
    for migration in migrations:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(f"{_told(migration)} was changed after it had been applied; add a new one instead")
    return [migration for migration in migrations if migration.number not in applied]


def _told(migration: Migration) -> str:
    return f"migration {migration.number:04d} ({migration.name})"


async def others_alive(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """The processes of another version that were heard of lately, each as `service instance, version`.

    `post` has to wait for their end. None where the database has no schema yet.
    """
    if await connection.fetchval("SELECT to_regclass('replica')") is None:
        return []
    rows = await connection.fetch(
        "SELECT service, instance, version FROM replica "
        "WHERE version <> $1 AND seen > clock_timestamp() - make_interval(secs => $2) ORDER BY service, instance",
        VERSION,
        ALIVE_WITHIN,
    )
    return [f"{row['service']} {row['instance']}, version {row['version']}" for row in rows]


APPLIED = "SELECT coalesce(max(number), 0) AS number FROM schema_migration"
"""The query for the number of the last migration in the database."""


def too_old(applied: int) -> str:
    """What to say of a schema that this code cannot run on."""
    return (
        f"the schema is at {applied:04d} and vedette {VERSION} needs {REQUIRED_SCHEMA:04d}: "
        f"run `vedette migrate` of version {VERSION} first; processes of the version before go on meanwhile"
    )
