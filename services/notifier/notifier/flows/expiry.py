"""End what is over, within a second of its time; sweep what nobody needs any more."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from notifier.domain.ended import Ended
from notifier.flows.live_events import LiveOutcomes
from notifier.flows.ports import ExpiryStore
from vedette.counting import Tally
from vedette.records import ManifestRecord
from vedette.store.database import StoreError
from vedette.store.hash_tables import (
    Entry,
    HashTable,
    dialog_field,
    manifest_entry,
    publication_field,
    tombstone,
)
from vedette.store.redis_link import RedisAwayError

INTERVAL = 0.4
BATCH = 500
"""Of each kind: a call of 30 ms on a quiet machine, in which nobody else has those presentities."""
TOMBSTONE_AGE = 100.0
"""Seconds: 64*T1 of a client, and the time an edge keeps asking, with a margin."""
REPLICA_AGE = 3600.0

log = structlog.get_logger()


class Expiry:
    """Run `run` and `sweep` as tasks."""

    def __init__(
        self,
        store: ExpiryStore,
        published: HashTable,
        dialogs: HashTable | None,
        *,
        wake: Callable[[], None],
        ring: Callable[[], Awaitable[None]],
        clean_period: int,
        live: LiveOutcomes | None = None,
    ) -> None:
        """`wake` wakes this notifier, `ring` the others; `dialogs` None: there is no cache of dialogs.

        `live`: who else is told.
        """
        self._live = live
        self._store = store
        self._published = published
        self._dialogs = dialogs
        self._wake = wake
        self._ring = ring
        self._clean_period = clean_period
        self.counted = Tally({("publication",): 0, ("dialog",): 0})
        """What has ended, by kind."""

    async def run(self) -> None:
        """End what is over, for ever. Who listens is told of one batch while the next one ends."""
        untold: list[Ended] = []
        while True:
            ended, _, _ = await asyncio.gather(self._end_some(), self._judge_due(), self._tell(untold))
            untold = ended
            # Fewer than a batch may be all that others had not locked.
            if len(ended) < BATCH // 2:
                await self._tell(ended)
                untold = []
                await asyncio.sleep(INTERVAL)

    async def _end_some(self) -> list[Ended]:
        try:
            ended = await self._store.expire(BATCH)
        except StoreError as error:
            log.warning("cannot expire", reason=str(error))
            return []
        for item in ended:
            self.counted.add(item.kind)
        if ended:
            self._wake()
        return ended

    async def _judge_due(self) -> None:
        """Have those judged again for whom rules begin or cease to be valid."""
        try:
            judged = await self._store.judge_due(BATCH)
        except StoreError as error:
            log.warning("cannot look for rules that begin or end", reason=str(error))
            return
        if judged:
            self._wake()
            with contextlib.suppress(RedisAwayError):
                await self._ring()

    async def _tell(self, ended: Sequence[Ended]) -> None:
        """Those who hear live events, the other notifiers, and the tables in Redis."""
        if not ended:
            return
        if self._live is not None and self._live.wanted:
            self._live.ended(ended)
        now = time.time()
        published: list[Entry] = []
        dialogs: list[Entry] = []
        for item in ended:
            if item.kind == "dialog":
                dialogs.append(tombstone(item.presentity_hash, dialog_field(item.id), item.revision - 1, now))
                continue
            field = publication_field(item.presentity_uri, item.event, item.id)
            published.append(tombstone(item.presentity_hash, field, 2**31, now))
            manifest = ManifestRecord(item.version, list(item.others))
            published.append(
                manifest_entry(item.presentity_hash, item.presentity_uri, item.event, manifest, now + 86400)
            )
        try:
            await self._ring()
            await self._published.put(published)
            if self._dialogs is not None:
                await self._dialogs.put(dialogs)
        except RedisAwayError:
            return

    async def sweep(self) -> None:
        """Remove tombstones from Postgres and from the tables, every clean_period, for ever."""
        while True:
            await asyncio.sleep(self._clean_period)
            try:
                removed = await self._sweep_once()
            except StoreError as error:
                log.warning("cannot sweep", reason=str(error))
                continue
            if removed:
                log.info("swept", tombstones=removed)

    async def clean_up(self) -> tuple[int, int]:
        """Do all of it at once; how many publications and dialogs ended, and tombstones went. Raises StoreError."""
        over = 0
        while ended := await self._store.expire(BATCH):
            over += len(ended)
            self._wake()
            await self._tell(ended)
        return over, await self._sweep_once()

    async def _sweep_once(self) -> int:
        removed = 0
        while count := await self._store.sweep(TOMBSTONE_AGE, BATCH):
            removed += count
        while count := await self._store.sweep_decisions(BATCH):
            removed += count
        await self._store.forget_replicas(REPLICA_AGE)
        await self._sweep_tables()
        return removed

    async def _sweep_tables(self) -> None:
        try:
            for table in (self._published, self._dialogs):
                if table is None:
                    continue
                for bucket in range(table.buckets):
                    await table.sweep(bucket, time.time())
        except RedisAwayError:
            return
