"""End what is over, within a second of its time; sweep what nobody needs any more."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from notifier.domain.ended import Ended
from notifier.flows.ports import ExpiryStore
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
    ) -> None:
        """`wake` wakes this notifier, `ring` the others; `dialogs` None: there is no cache of dialogs."""
        self._store = store
        self._published = published
        self._dialogs = dialogs
        self._wake = wake
        self._ring = ring
        self._clean_period = clean_period

    async def run(self) -> None:
        """End what is over, for ever."""
        while True:
            try:
                ended = await self._store.expire(BATCH)
            except StoreError as error:
                log.warning("cannot expire", reason=str(error))
                ended = []
            if ended:
                self._wake()
                await self._tell(ended)
            if len(ended) < BATCH:
                await asyncio.sleep(INTERVAL)

    async def _tell(self, ended: Sequence[Ended]) -> None:
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
                removed = 0
                while count := await self._store.sweep(TOMBSTONE_AGE, BATCH):
                    removed += count
                await self._store.forget_replicas(REPLICA_AGE)
            except StoreError as error:
                log.warning("cannot sweep", reason=str(error))
                continue
            await self._sweep_tables()
            if removed:
                log.info("swept", tombstones=removed)

    async def _sweep_tables(self) -> None:
        try:
            for table in (self._published, self._dialogs):
                if table is None:
                    continue
                for bucket in range(table.buckets):
                    await table.sweep(bucket, time.time())
        except RedisAwayError:
            return
