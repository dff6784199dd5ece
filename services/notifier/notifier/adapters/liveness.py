"""Who is alive, as Postgres knows it: each notifier holds a lock that its connection's end sets free."""

import asyncio
import contextlib

import asyncpg

from notifier.flows.ports import MissingNotifier
from vedette.store.database import Database, StoreError

LOCK_CLASS = 0x7665
CHECK = 1.0
SILENCE = 2.0
"""Seconds; who still beats is alive and takes its lock again, which Postgres has dropped with the connection."""

_HOLD = "SELECT pg_advisory_lock($1, hashtext($2))"
_MISSING = """
SELECT r.instance, r.address, r.seen < clock_timestamp() - make_interval(secs => $3) AS silent
FROM replica AS r
WHERE r.service = 'notifier' AND r.instance <> $2
    AND NOT EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objsubid = 2 AND l.granted
            AND l.objid = (hashtext(r.instance)::int8 & 4294967295)::oid
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""

_BROKEN = (StoreError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Liveness:
    """Run `hold` as a task: it keeps our lock on a connection of its own."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance
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
            self.held.set()
            while True:
                await asyncio.sleep(CHECK)
                await connection.execute("SELECT 1", timeout=5)
        finally:
            connection.terminate()

    async def missing(self) -> list[MissingNotifier]:
        """The notifiers that were there and whose lock is free. Raises StoreError."""
        rows = await self._database.fetch(_MISSING, LOCK_CLASS, self._instance, SILENCE)
        return [MissingNotifier(row["instance"], row["address"], row["silent"]) for row in rows]

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
