"""The list of all processes of all services."""

from collections.abc import Sequence

import asyncpg

from vedette.rpc.contract import Hello
from vedette.store.database import Database


async def record(database: Database, hellos: Sequence[Hello]) -> None:
    """Write down that these processes were seen now."""
    ordered = sorted(hellos, key=lambda hello: hello.instance)
    await database.fetch(
        "SELECT record_replicas_v1($1, $2, $3, $4, $5, $6, $7, $8)",
        [hello.instance for hello in ordered],
        [hello.service for hello in ordered],
        [hello.address for hello in ordered],
        [hello.version for hello in ordered],
        [hello.pid for hello in ordered],
        [hello.host for hello in ordered],
        [hello.uptime for hello in ordered],
        [hello.ready for hello in ordered],
    )


async def seen_within(database: Database, seconds: float) -> list[asyncpg.Record]:
    """The rows of the processes seen in the last so many seconds, with `age` (seconds since then)."""
    return await database.fetch(
        "SELECT *, extract(epoch FROM clock_timestamp() - seen)::float8 AS age, "
        "extract(epoch FROM clock_timestamp() - started)::float8 AS uptime "
        "FROM replica WHERE seen > clock_timestamp() - make_interval(secs => $1) ORDER BY service, started",
        seconds,
    )


async def forget_older_than(database: Database, seconds: float) -> None:
    """Delete the rows of processes that were not seen for so many seconds."""
    await database.fetch("DELETE FROM replica WHERE seen < clock_timestamp() - make_interval(secs => $1)", seconds)
