"""What is alive and what is late in the database, counted now and then by one notifier for all."""

import asyncio
import time

import structlog

from vedette.events.registry import PACKAGES
from vedette.store.database import Database, StoreError

INTERVAL = 5.0
"""Seconds between two looks at the queues."""
MOST = 10_000
"""Rows of a queue that are counted; more are told as so many."""
PAGES = 2000
"""Pages of a table that are read to count its rows; of a larger table a sample."""
LATE = 2.0
"""Seconds; what is over is to be ended within one."""
STATUSES = {1: "active", 2: "pending", 3: "terminated", 4: "waiting"}

_WHO = """
SELECT coalesce(min(r.instance) = $1, false) AS leads, extract(epoch FROM clock_timestamp())::float8 AS at
FROM replica AS r
WHERE r.service = 'notifier' AND r.ready AND r.seen > clock_timestamp() - interval '5 seconds'
"""
_QUEUES = """
SELECT
    (SELECT count(*) FROM (
        SELECT FROM change_event AS c WHERE c.due <= clock_timestamp() ORDER BY c.due, c.id LIMIT $1
    ) AS c) AS events,
    (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(c.due)), 0)::float8 FROM change_event AS c
     WHERE c.due <= clock_timestamp()) AS oldest,
    (SELECT count(*) FROM (
        SELECT FROM presentity AS p
        WHERE p.ended IS NULL AND p.expires <= clock_timestamp() - make_interval(secs => $2) LIMIT $1
    ) AS p) AS publications,
    (SELECT count(*) FROM (
        SELECT FROM active_watchers AS w
        WHERE w.ended IS NULL AND w.expires <= clock_timestamp() - make_interval(secs => $2) LIMIT $1
    ) AS w) AS subscriptions
"""
_LOCKS = """
SELECT count(*) AS waiting, coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)::float8 AS longest
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
WHERE NOT l.granted AND l.locktype <> 'advisory' AND a.datname = current_database()
"""
_PAGES = """
SELECT greatest(1, pg_relation_size('presentity') / current_setting('block_size')::int8) AS presentity,
    greatest(1, pg_relation_size('active_watchers') / current_setting('block_size')::int8) AS active_watchers
"""
_PUBLICATIONS = """
SELECT p.event, count(*) AS alive
FROM presentity AS p TABLESAMPLE SYSTEM ($1::float8)
WHERE p.ended IS NULL
GROUP BY p.event
"""
_SUBSCRIPTIONS = """
SELECT w.event, w.status, count(*) AS alive
FROM active_watchers AS w TABLESAMPLE SYSTEM ($1::float8)
WHERE w.ended IS NULL
GROUP BY w.event, w.status
"""

log = structlog.get_logger()


class Census:
    """Run `run` as a task. It knows nothing (None) where another notifier counts: the first by instance does."""

    def __init__(self, database: Database, instance: str, period: float, *, dialogs_in_redis: bool) -> None:
        """`period`: seconds between two counts. `dialogs_in_redis`: Postgres has them as of the last flush only."""
        self._database = database
        self._instance = instance
        self._period = period
        self._dialogs_in_redis = dialogs_in_redis
        self._counted_at: float | None = None
        self._ahead = 0.0
        self.publications: dict[tuple[str], int] | None = None
        """By event."""
        self.subscriptions: dict[tuple[str, str], int] | None = None
        """By event and status."""
        self.queues: dict[str, float] | None = None
        """`events`, `oldest` (seconds), and what is overdue: `publications`, `subscriptions`."""
        self.locks: tuple[int, float] | None = None
        """How many calls wait for a lock, and how long the first of them has, in seconds."""

    def now(self) -> float:
        """Postgres's time, in seconds since the epoch, as far as this host can tell; 0.0 before it was asked."""
        return time.monotonic() + self._ahead if self._ahead else 0.0

    async def run(self) -> None:
        """Look and count, for ever."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.info("cannot count for the metrics", reason=str(error))
                self._forget()
            await asyncio.sleep(min(INTERVAL, self._period))

    async def look(self) -> None:
        """Look at the queues, and count where it is time to, if that is for us to do. Raises StoreError."""
        begun = time.monotonic()
        (who,) = await self._database.fetch(_WHO, self._instance)
        now = time.monotonic()
        self._ahead = who["at"] - (begun + now) / 2
        if not who["leads"]:
            self._forget()
            return
        (queues,) = await self._database.fetch(_QUEUES, MOST, LATE)
        found = {name: float(count) for name, count in queues.items()}
        if self._dialogs_in_redis:
            del found["subscriptions"]
        self.queues = found
        (locks,) = await self._database.fetch(_LOCKS)
        self.locks = (locks["waiting"], locks["longest"])
        if self._counted_at is None or now - self._counted_at >= self._period:
            await self._count()
            self._counted_at = now

    async def _count(self) -> None:
        (pages,) = await self._database.fetch(_PAGES)
        share = min(1.0, PAGES / pages["presentity"])
        publications: dict[tuple[str], int] = {}
        for row in await self._database.fetch(_PUBLICATIONS, 100 * share):
            key = (_event(row["event"]),)
            publications[key] = publications.get(key, 0) + round(row["alive"] / share)
        share = min(1.0, PAGES / pages["active_watchers"])
        subscriptions: dict[tuple[str, str], int] = {}
        for row in await self._database.fetch(_SUBSCRIPTIONS, 100 * share):
            of = (_event(row["event"]), STATUSES.get(row["status"], "other"))
            subscriptions[of] = subscriptions.get(of, 0) + round(row["alive"] / share)
        self.publications, self.subscriptions = publications, subscriptions

    def _forget(self) -> None:
        self.publications = self.subscriptions = self.queues = self.locks = None
        self._counted_at = None


def _event(name: str) -> str:
    return name if name in PACKAGES else "other"
