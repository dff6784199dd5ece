"""What a set has grown to: memory of its processes, sizes and dead rows of its tables, what its outbox holds."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from tests.running_set import RunningSet
from tests.system.load import read_state

TABLES = ("presentity", "presentity_state", "active_watchers", "delivery", "change_event", "replica")
_PSS = re.compile(r"^Pss: +([0-9]+) kB", re.MULTILINE)

_SIZES = """
SELECT c.relname AS name, pg_table_size(c.oid) AS heap, pg_indexes_size(c.oid) AS indexes,
    s.n_live_tup AS live, s.n_dead_tup AS dead
FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.relname = ANY ($1)
"""
_DUE = "SELECT count(*) FROM change_event WHERE presentity_uri = ANY ($1)"
_OUTSTANDING = "SELECT count(*) FROM delivery WHERE outstanding_cseq IS NOT NULL AND presentity_uri = ANY ($1)"


async def memory(running: RunningSet) -> dict[str, float]:
    """MiB of each process of ours, as `core 0`, and of each server with all its processes; shared pages in parts."""
    rows = (await running.status())["processes"]
    return {
        f"{row['service']} {row['index']}": sum(map(_pss, _family(row["pid"]))) / 1024
        for row in rows
        if row["pid"] is not None
    }


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *map(int, children)]


def _pss(pid: int) -> int:
    """KiB; 0 where it has ended."""
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


async def sizes(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, dict[str, int]]:
    """Octets of each table and of its indexes, its rows and its dead rows, as Postgres counts them."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await connection.fetch(_SIZES, list(TABLES))
    return {row["name"]: {key: row[key] for key in ("heap", "indexes", "live", "dead")} for row in rows}


async def written(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Octets of WAL written so far."""
    found: int = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8")
    return found


async def owed(connection: "asyncpg.Connection[asyncpg.Record]", presentities: list[str]) -> tuple[int, int]:
    """Rows in the outbox that are about these presentities, and NOTIFYs outstanding."""
    return await connection.fetchval(_DUE, presentities), await connection.fetchval(_OUTSTANDING, presentities)


async def stored(connection: "asyncpg.Connection[asyncpg.Record]") -> Mapping[str, Mapping[str, int]]:
    """What is published of each presentity: the publications and their numbers."""
    rows = await connection.fetch(
        "SELECT presentity_uri, string_agg(body, '') AS bodies FROM presentity "
        "WHERE ended IS NULL AND event = 'presence' GROUP BY presentity_uri"
    )
    return await asyncio.to_thread(lambda: {row["presentity_uri"]: read_state(row["bodies"]) or {} for row in rows})
