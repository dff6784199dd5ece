"""Postgres: version, schema, settings, indexes, dead rows, replication."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from vedette.store.migrations import APPLIED, OLDEST_POSTGRES, REQUIRED_SCHEMA, Migration, Phase
from vedette_cli.doctor.finding import Finding, failure, warning, well

NEWEST_POSTGRES = 18
CONNECT_PATIENCE = 5.0
OF_A_PROCESS_BESIDE_ITS_POOL = 1
"""Each process listens on a connection of its own."""
FULL = 0.8
"""Share of the connections."""
SMALL_CACHE = 128 * 2**20
MANY_DEAD_ROWS = 10_000
LONG_TRANSACTION = 60.0
LATE_REPLICA = 10.0


_SETTINGS = (
    *("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts", "shared_buffers"),
    *("max_connections", "superuser_reserved_connections"),
)
_CREATED = re.compile(r"^CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+) ON (\w+)[^;]*;", re.MULTILINE)
_TABLE = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_DROPPED = re.compile(r"^DROP (?:INDEX|TABLE) (?:CONCURRENTLY )?(?:IF EXISTS )?(\w+)", re.MULTILINE)

_INVALID = """
SELECT c.relname AS name FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)
"""
_DEAD = """
SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables
WHERE n_dead_tup > $1 AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC
"""
_LONG = """
SELECT pid, application_name, state, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < clock_timestamp() - make_interval(secs => $1)
    AND backend_type = 'client backend'
"""
_REPLICAS = """
SELECT application_name, state, coalesce(extract(epoch FROM replay_lag), 0)::float8 AS lag FROM pg_stat_replication
"""


async def check_database(
    connection: "asyncpg.Connection[asyncpg.Record]",
    migrations: Sequence[Migration],
    pools: Mapping[str, int],
) -> list[Finding]:
    """Everything that is looked at in the database. `pools`: the connections that each process may open."""
    found = [check_postgres_version(connection.get_server_version().major)]
    schema = await _check_schema(connection, migrations)
    found += schema
    settings = {
        row["name"]: row["setting"]
        for row in await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(_SETTINGS)
        )
    }
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    found += check_settings(settings, size)
    used = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    found.append(check_connections(settings, pools, used))
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        found.append(
            failure(
                "database",
                "this Postgres is a standby: nothing can be written",
                "Point VEDETTE_DB_URL at the primary.",
            )
        )
    applied = {row["number"] for row in await _applied(connection)}
    present = {
        row["relname"]
        for row in await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = current_schema()::regnamespace"
        )
    }
    invalid = [row["name"] for row in await connection.fetch(_INVALID)]
    found += check_indexes(
        wanted_indexes([migration for migration in migrations if migration.number in applied]), present, invalid
    )
    dead = [tuple(row) for row in await connection.fetch(_DEAD, MANY_DEAD_ROWS)]
    long = await connection.fetch(_LONG, LONG_TRANSACTION)
    found += check_vacuum(dead, [dict(row) for row in long])
    found += check_replication([dict(row) for row in await connection.fetch(_REPLICAS)])
    return found


def check_postgres_version(major: int) -> Finding:
    """Whether we know this Postgres."""
    if major < OLDEST_POSTGRES:
        return failure("database", f"PostgreSQL {major} is too old", f"Use PostgreSQL {OLDEST_POSTGRES} or newer.")
    if major > NEWEST_POSTGRES:
        return warning(
            "database",
            f"PostgreSQL {major} is newer than what was tried",
            f"PostgreSQL {NEWEST_POSTGRES} is the newest tried.",
        )
    return well("database", f"PostgreSQL {major}")


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> list[asyncpg.Record]:
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return []
    return await connection.fetch("SELECT number, checksum FROM schema_migration")


async def _check_schema(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> list[Finding]:
    rows = await _applied(connection)
    if not rows:
        return [failure("schema", "the database has no schema", "Run vedette migrate.")]
    at = await connection.fetchval(APPLIED)
    if at < REQUIRED_SCHEMA:
        return [
            failure(
                "schema",
                f"the schema is at {at:04d}, this version needs {REQUIRED_SCHEMA:04d}",
                "Run vedette migrate.",
            )
        ]
    known = {migration.number: migration for migration in migrations}
    found: list[Finding] = []
    changed = [f"{row['number']:04d}" for row in rows if _differs(row, known.get(row["number"]))]
    if changed:
        found.append(
            warning(
                "schema",
                f"the migrations {', '.join(changed)} are not those that were applied",
                "Use the migrations of the version that the database was made with.",
            )
        )
    waiting = [
        one for one in migrations if one.phase is Phase.POST and one.number not in {row["number"] for row in rows}
    ]
    if waiting:
        names = ", ".join(f"{one.number:04d} {one.name}" for one in waiting)
        found.append(
            warning("schema", f"not applied yet: {names}", "Once no old process runs: vedette migrate --phase post.")
        )
    if migrations and at > max(known):
        found.append(
            warning(
                "schema",
                f"the schema is at {at:04d}, newer than this command",
                "Use the command of the newer version.",
            )
        )
    return found or [well("schema", f"the schema is at {at:04d}")]


def _differs(row: asyncpg.Record, migration: Migration | None) -> bool:
    return migration is not None and migration.checksum != row["checksum"]


def check_settings(settings: Mapping[str, str], size: int) -> list[Finding]:
    """Whether what was committed survives, and Postgres tidies up. `size`: octets of the database."""
    found: list[Finding] = []
    found += [
        failure("database", f"{name}=off: a crash of the machine may ruin the database", f"Set {name}=on.")
        for name in ("fsync", "full_page_writes")
        if settings.get(name) == "off"
    ]
    if settings.get("synchronous_commit") == "off":
        found.append(
            failure(
                "database",
                "synchronous_commit=off: a state that got its 200 may be gone after a crash",
                "Set synchronous_commit=on; batches keep it cheap.",
            )
        )
    found += [
        failure("database", f"{name}=off: tables grow with every change and are never tidied", f"Set {name}=on.")
        for name in ("autovacuum", "track_counts")
        if settings.get(name) == "off"
    ]
    cache = int(settings.get("shared_buffers", "0")) * 8192  # pg_settings counts pages
    if cache < SMALL_CACHE or (size > 4 * cache and cache < 2**30):
        found.append(
            warning(
                "database",
                f"shared_buffers is {cache // 2**20} MiB for a database of {size // 2**20} MiB",
                "A quarter of the machine's memory is usual.",
            )
        )
    return found or [well("database", "its settings keep what was committed, and autovacuum is on")]


def check_connections(settings: Mapping[str, str], pools: Mapping[str, int], used: int) -> Finding:
    """Whether all pools fit into max_connections."""
    allowed = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    wanted = sum(pool + OF_A_PROCESS_BESIDE_ITS_POOL for pool in pools.values())
    text = f"{len(pools)} processes may open {wanted} of {allowed} connections ({used} are open)"
    remedy = "Raise max_connections of Postgres, or lower VEDETTE_DB_CONNECTIONS or the number of processes."
    if wanted > allowed:
        return failure("connections", text, remedy)
    if max(wanted, used) > FULL * allowed:
        return warning("connections", text, remedy)
    return well("connections", text)


def wanted_indexes(migrations: Sequence[Migration]) -> dict[str, str]:
    """The indexes that these migrations leave, and the statement that makes each."""
    found: dict[str, str] = {}
    tables: dict[str, str] = {}
    for migration in migrations:
        for match in _CREATED.finditer(migration.sql):
            found[match[1]] = " ".join(match[0].split())
            tables[match[1]] = match[2]
        for match in _TABLE.finditer(migration.sql):
            if "PRIMARY KEY" in match[2]:
                found[f"{match[1]}_pkey"] = (
                    f"ALTER TABLE {match[1]} ADD PRIMARY KEY (...), as {migration.name} has it;"
                )
                tables[f"{match[1]}_pkey"] = match[1]
        gone = {match[1] for match in _DROPPED.finditer(migration.sql)}
        found = {name: sql for name, sql in found.items() if name not in gone and tables[name] not in gone}
    return found


def check_indexes(wanted: Mapping[str, str], present: set[str], invalid: Sequence[str]) -> list[Finding]:
    """Whether all indexes are there and used."""
    found = [
        failure("indexes", f"the index {name} is missing: searches read whole tables", f"Make it: {statement}")
        for name, statement in wanted.items()
        if name not in present
    ]
    found += [
        failure(
            "indexes", f"the index {name} is invalid, and no search uses it", f"REINDEX INDEX CONCURRENTLY {name};"
        )
        for name in invalid
    ]
    return found or [well("indexes", f"all {len(wanted)} indexes are there and valid")]


def check_vacuum(dead: Sequence[tuple[Any, ...]], long: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Whether dead rows are removed. `dead`: table, live and dead rows; `long`: old transactions."""
    return list(_vacuum(dead, long)) or [well("vacuum", "no table has more dead rows than live ones")]


def _vacuum(dead: Sequence[tuple[Any, ...]], long: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for table, live, gone in dead:
        yield warning(
            "vacuum",
            f"{table} has {gone} dead rows beside {live} live ones",
            f"VACUUM {table}; and see whether an old transaction or replication slot holds them.",
        )
    for row in long:
        yield warning(
            "vacuum",
            f"a transaction of {row['application_name'] or 'somebody'} (pid {row['pid']}, {row['state']}) "
            f"is open for {row['seconds']:.0f} s: no dead row goes meanwhile",
            f"End it: SELECT pg_terminate_backend({row['pid']});",
        )


def check_replication(standbys: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Whether standbys keep up; none is no finding."""
    late = [row for row in standbys if row["lag"] > LATE_REPLICA or row["state"] not in {"streaming", None}]
    found = [
        warning(
            "replication",
            f"the standby {row['application_name']} is {row['state']} and {row['lag']:.0f} s behind",
            "A failover now would lose so much: look at its disk and network.",
        )
        for row in late
    ]
    return found or ([well("replication", f"{len(standbys)} standbys keep up")] if standbys else [])
