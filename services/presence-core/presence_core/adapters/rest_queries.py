"""The queries behind REST: all by key ranges, all bounded."""

import asyncio

import asyncpg
import structlog

from vedette.runtime.dialogs import DialogsInRedis
from vedette.store.database import Database, StoreError

FLUSH_PATIENCE = 2.0
"""Seconds that an answer waits for dialogs in Redis to be written to Postgres."""

log = structlog.get_logger()

_PRESENTITIES = """
SELECT s.presentity_hash, s.presentity_uri, s.event, s.version,
    (SELECT count(*) FROM presentity AS p
     WHERE p.presentity_hash = s.presentity_hash AND p.presentity_uri = s.presentity_uri AND p.event = s.event
        AND p.ended IS NULL AND p.expires > clock_timestamp()) AS publications,
    (SELECT count(*) FROM active_watchers AS w
     WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri AND w.event = s.event
        AND w.ended IS NULL) AS subscriptions
FROM presentity_state AS s
WHERE (s.presentity_hash, s.presentity_uri, s.event) > ($1::int4, $2::text COLLATE "C", $3::text COLLATE "C")
    AND ($4::text IS NULL OR strpos(s.presentity_uri, $4) > 0)
    AND ($5::text IS NULL OR s.event = $5)
ORDER BY s.presentity_hash, s.presentity_uri, s.event
LIMIT $6
"""

_PRESENTITY = """
SELECT s.presentity_hash, s.presentity_uri, s.event, s.version,
    (SELECT count(*) FROM active_watchers AS w
     WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri AND w.event = s.event
        AND w.ended IS NULL) AS subscriptions
FROM presentity_state AS s
WHERE s.presentity_hash = $1 AND s.presentity_uri = $2 AND s.event = $3
"""

_PUBLICATIONS = """
SELECT publication_id, etag, content_type, expires, received_time, version, body
FROM presentity
WHERE presentity_hash = $1 AND presentity_uri = $2 AND event = $3 AND ended IS NULL AND expires > clock_timestamp()
ORDER BY version DESC
LIMIT 1000
"""

_SUBSCRIPTIONS = """
SELECT w.*, coalesce(d.local_cseq, 0) AS local_cseq, coalesce(d.sent_version, 0) AS sent_version,
    d.outstanding_cseq IS NOT NULL AS outstanding, coalesce(s.version, 0) AS presentity_version
FROM active_watchers AS w
LEFT JOIN delivery AS d USING (presentity_hash, dialog_id)
LEFT JOIN presentity_state AS s
    ON s.presentity_hash = w.presentity_hash AND s.presentity_uri = w.presentity_uri AND s.event = w.event
WHERE (w.presentity_hash, w.dialog_id) > ($1::int4, $2::bytea)
    AND ($3::int4 IS NULL OR w.presentity_hash = $3) AND ($4::text IS NULL OR w.presentity_uri = $4)
    AND ($5::text IS NULL OR (CASE w.watcher_username WHEN '' THEN 'sip:' ELSE 'sip:' || w.watcher_username || '@' END
        || w.watcher_domain) = $5)
    AND ($6::text IS NULL OR w.event = $6) AND ($7::bytea IS NULL OR w.dialog_id = $7)
    AND w.ended IS NULL
ORDER BY w.presentity_hash, w.dialog_id
LIMIT $8
"""


class RestQueries:
    """Reads for the admin REST. Every method raises StoreError."""

    def __init__(self, database: Database, dialogs: DialogsInRedis | None = None) -> None:
        """`dialogs`: where they are if not in Postgres, which is made to have them before it is asked."""
        self.database = database
        self._dialogs = dialogs

    async def _know_dialogs(self) -> None:
        """Where that fails, or takes too long, they are shown as of the last db_update_period."""
        if self._dialogs is None:
            return
        try:
            async with asyncio.timeout(FLUSH_PATIENCE):
                await self._dialogs.keeper.flush(patience=FLUSH_PATIENCE)
        except (StoreError, TimeoutError) as error:
            log.info("dialogs are shown as of the last flush", reason=f"{type(error).__name__}: {error}")

    async def presentities(
        self, after: tuple[int, str, str], search: str | None, event: str | None, limit: int
    ) -> list[asyncpg.Record]:
        """Presentities in key order after that key, whose URI contains `search`."""
        await self._know_dialogs()
        return await self.database.fetch(_PRESENTITIES, *after, search, event, limit)

    async def presentity(self, hash_: int, uri: str, event: str) -> asyncpg.Record | None:
        """One presentity, None where nothing is known of it."""
        await self._know_dialogs()
        rows = await self.database.fetch(_PRESENTITY, hash_, uri, event)
        return rows[0] if rows else None

    async def publications(self, hash_: int, uri: str, event: str) -> list[asyncpg.Record]:
        """Its publications that are alive, the newest state first."""
        return await self.database.fetch(_PUBLICATIONS, hash_, uri, event)

    async def subscriptions(
        self,
        after: tuple[int, bytes],
        *,
        presentity: tuple[int, str | None] | tuple[None, None],
        watcher: str | None,
        event: str | None,
        dialog_id: bytes | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """Live dialogs in key order after that key."""
        await self._know_dialogs()
        return await self.database.fetch(_SUBSCRIPTIONS, *after, *presentity, watcher, event, dialog_id, limit)
