"""Dialogs in Redis as the services have them (`fallback2db=0`): the tables, and their copy in Postgres."""

from typing import Any

import asyncpg

from vedette.store.database import Database
from vedette.store.dialog_tables.keeper import DialogKeeper
from vedette.store.dialog_tables.rows import pack, read_delivery_row, read_dialog_row
from vedette.store.dialog_tables.tables import DialogTables
from vedette.store.redis_link import RedisLink

_ALL = """
SELECT w.presentity_hash, w.dialog_id, w.status, w.reason,
    $1 + extract(epoch FROM w.expires - clock_timestamp())::float8 AS expires,
    $1 + extract(epoch FROM w.ended - clock_timestamp())::float8 AS ended,
    d.local_cseq, d.version, d.failures, d.edge_instance, d.sent_version, d.acked_digest,
    d.outstanding_cseq, d.outstanding_notifier,
    $1 + extract(epoch FROM d.outstanding_until - clock_timestamp())::float8 AS outstanding_until,
    $1 + extract(epoch FROM d.not_before - clock_timestamp())::float8 AS not_before
FROM active_watchers AS w
LEFT JOIN delivery AS d USING (presentity_hash, dialog_id)
"""


class DialogsInRedis:
    """One process's view of them."""

    def __init__(self, url: str, database: Database, *, size: int = 4, timeout: float = 20.0) -> None:
        self.link = RedisLink(url, timeout=timeout)
        self.raw: Any = self.link.client
        """To look and to do harm; its types depend on settings that mypy does not see."""
        self.tables = DialogTables(self.link, size)
        self.keeper = DialogKeeper(database, self.tables, period=0)

    async def empty(self) -> None:
        """As if Redis had just been started."""
        await self.link.client.flushdb()

    async def open(self) -> None:
        """As a service does at its start."""
        await self.keeper.open()
        await self.keeper.load()

    async def flush(self) -> int:
        """Have Postgres know everything; how many dialogs it did not."""
        return await self.keeper.flush(patience=10)

    async def take_over(self, plain: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Have Redis know what a test has changed in Postgres, exactly so; `load` would raise CSeqs."""
        now = await self.tables.now()
        for row in await plain.fetch(_ALL, now):
            key = self.tables.key(self.tables.bucket(row["presentity_hash"]))
            name = row["dialog_id"].hex()
            dialog = read_dialog_row(await self.raw.hget(f"{key}:rows", name))
            dialog.expires, dialog.ended = row["expires"], row["ended"] or 0.0
            dialog.status, dialog.reason = row["status"], row["reason"]
            await self.raw.hset(f"{key}:rows", name, pack(dialog))
            await self._place(f"{key}:expires", name, None if dialog.ended else dialog.expires)
            await self._place(f"{key}:ended", name, dialog.ended or None)
            held = await self.raw.hget(f"{key}:delivery", name)
            if held is None or row["local_cseq"] is None:
                continue
            delivery = read_delivery_row(held)
            for column in ("local_cseq", "version", "failures", "edge_instance", "outstanding_notifier"):
                setattr(delivery, column, row[column] or type(getattr(delivery, column))())
            for column in ("not_before", "outstanding_until", "outstanding_cseq"):
                setattr(delivery, column, row[column] or 0)
            delivery.owed = int(row["sent_version"] == 0)
            delivery.sent_version = row["sent_version"] or delivery.sent_version
            delivery.acked_digest = "" if row["acked_digest"] is None else row["acked_digest"].hex()
            await self.raw.hset(f"{key}:delivery", name, pack(delivery))
            until = delivery.outstanding_until if delivery.outstanding_cseq else None
            await self._place(f"{key}:marks", name, until)
            owes = delivery.owed or delivery.sent_version < delivery.wanted_version
            due = max(delivery.not_before, 1.0) if owes and not delivery.outstanding_cseq else None
            await self._place(f"{key}:owed", name, due)
        await self.tables.look_everywhere()

    async def _place(self, key: str, name: str, score: float | None) -> None:
        if score is None:
            await self.raw.zrem(key, name)
        else:
            await self.raw.zadd(key, {name: score})

    async def close(self) -> None:
        """Close the connections."""
        await self.keeper.close()
        await self.link.close()
