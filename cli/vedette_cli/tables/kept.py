"""The table of dialogs as Redis has them with `fallback2db=0`: not a copy, but the dialogs themselves."""

import time
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

from vedette.identity import presentity_hash
from vedette.records import read_flow
from vedette.store.dialog_tables.rows import DeliveryRow, DialogRow
from vedette.store.dialog_tables.tables import DialogTables
from vedette_cli.tables.rows import WILD, Progress, SubscriptionRow, watcher_of
from vedette_cli.tables.stored_states import STATUS

BUCKETS_AT_ONCE = 256


class KeptDialogs:
    """Reads in pages, so that a big table stops Redis for nobody."""

    def __init__(self, tables: DialogTables, *, progress: Progress | None = None) -> None:
        self._tables = tables
        self._progress = progress

    @property
    def buckets(self) -> int:
        """How many the table has."""
        return len(self._tables.buckets)

    async def subscriptions(self, pattern: str = "*") -> AsyncIterator[SubscriptionRow]:
        """The dialogs whose time is not over, bucket by bucket. Raises StoreError."""
        async for bucket in self._filled(pattern):
            async for page in self._tables.pages(bucket):
                now = time.time()
                for row, delivery in page:
                    if not row.ended and row.expires > now and fnmatchcase(row.presentity_uri, pattern):
                        yield _shown(bucket, row, delivery)

    async def _filled(self, pattern: str) -> AsyncIterator[int]:
        """The buckets that have dialogs, in order; for a whole URI only its own."""
        if not WILD.intersection(pattern):
            yield self._tables.bucket(presentity_hash(pattern))
            return
        for first in range(0, self.buckets, BUCKETS_AT_ONCE):
            for offset, count in enumerate(await self._tables.counts(first, BUCKETS_AT_ONCE)):
                if self._progress is not None:
                    self._progress(first + offset, self.buckets)
                if count:
                    yield first + offset


def _shown(bucket: int, row: DialogRow, delivery: DeliveryRow | None) -> SubscriptionRow:
    flow = read_flow(row.socket_info)
    return SubscriptionRow(
        bucket,
        row.presentity_uri,
        row.event,
        row.event_id,
        watcher_of(row.from_uri),
        row.callid,
        row.to_tag,
        row.from_tag,
        row.remote_cseq,
        None if delivery is None else delivery.local_cseq,
        row.expires,
        STATUS[row.status],
        row.contact,
        f"{flow.transport}:{flow.host}:{flow.port}",
        row.revision,
    )
