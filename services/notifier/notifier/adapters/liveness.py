"""Who is alive, as Postgres knows it: each notifier holds a lock that its connection's end sets free."""

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
import structlog

from notifier.flows.ports import MissingNotifier
from vedette.store.database import Database, StoreError

LOCK_CLASS = 0x7665
CHECK = 1.0
SILENCE = 2.0
"""Seconds; who still beats is alive and takes its lock again, which Postgres has dropped with the connection."""
LONG_SILENCE = 5.0
"""Seconds; who holds its lock and has not beaten for so long may be stopped: then it does not answer, either."""

_HOLD = "SELECT pg_advisory_lock($1, hashtext($2))"
_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
# As at the start of the database: what the server before this one gave out and lost is not given out again, and so
# what Redis has of it is not taken for what is there now.
_RAISE_VERSIONS = """
SELECT setval('presentity_version', greatest(last_value, (extract(epoch FROM clock_timestamp()) * 1000000)::int8))
FROM presentity_version
"""
_MISSING = """
SELECT r.instance, r.address, r.seen < clock_timestamp() - make_interval(secs => $3) AS silent, k.held
FROM replica AS r
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objsubid = 2 AND l.granted
            AND l.objid = (hashtext(r.instance)::int8 & 4294967295)::oid
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS held
) AS k
WHERE r.service = 'notifier' AND r.instance <> $2
    AND (NOT k.held OR r.seen < clock_timestamp() - make_interval(secs => $4))
"""

_BROKEN = (StoreError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = structlog.get_logger()


class Liveness:
    """Run `hold` as a task: it keeps our lock on a connection of its own."""

    def __init__(self, database: Database, instance: str, failed_over: Callable[[], None] = lambda: None) -> None:
        """`failed_over` is called when a standby has taken the place of the server that we knew.

        It may not have what was committed in the last moments, like the outcomes of NOTIFYs.
        """
        self._database = database
        self._instance = instance
        self._failed_over = failed_over
        self._timeline = ""
        self.held = asyncio.Event()

    async def hold(self) -> None:
        """Hold the lock, and take it again after the connection broke, for ever."""
        while True:
            with contextlib.suppress(*_BROKEN):
                await self._hold_once()
            self.held.clear()
            await asyncio.sleep(CHECK)

    async def _hold_once(self) -> None:
        connection = await self._database.connect()
        try:
            await connection.execute(_HOLD, LOCK_CLASS, self._instance)
            with contextlib.suppress(asyncpg.PostgresError):  # a service that is like Postgres may not tell
                await self._look_for_failover(connection)
            self.held.set()
            while True:
                await asyncio.sleep(CHECK)
                await connection.execute("SELECT 1", timeout=5)
        finally:
            connection.terminate()

    async def _look_for_failover(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        before, self._timeline = self._timeline, await connection.fetchval(_TIMELINE)
        if before not in ("", self._timeline):
            log.warning("postgres has failed over", timeline=self._timeline, before=before)
            await connection.execute(_RAISE_VERSIONS)
            self._failed_over()

    async def missing(self) -> list[MissingNotifier]:
        """The notifiers that were there and whose lock is free, or that say nothing. Raises StoreError."""
        rows = await self._database.fetch(_MISSING, LOCK_CLASS, self._instance, SILENCE, LONG_SILENCE)
        return [
            MissingNotifier(row["instance"], row["address"], row["silent"], holds_lock=row["held"]) for row in rows
        ]

    async def gone_edges(self, seconds: float) -> list[tuple[str, str]]:
        """Instance and address of the edges that no core has heard of for so many seconds. Raises StoreError."""
        rows = await self._database.fetch(
            "SELECT instance, address FROM replica WHERE service = 'sip-edge' "
            "AND seen < clock_timestamp() - make_interval(secs => $1)",
            seconds,
        )
        return [(row["instance"], row["address"]) for row in rows]

    async def forget(self, instance: str) -> None:
        """Nothing more is to be done for this process. Raises StoreError."""
        await self._database.fetch("DELETE FROM replica WHERE instance = $1", instance)
