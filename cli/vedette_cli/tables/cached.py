"""The tables as Redis has them: with `fallback2db=1` copies of what is in Postgres, as far as not forgotten."""

import time
from collections.abc import AsyncIterator, Callable
from fnmatch import fnmatchcase
from typing import TypeVar

from vedette.identity import entity_tag, presentity_hash
from vedette.store.hash_tables import (
    UNREADABLE,
    HashTable,
    Held,
    publication_field,
    read_dialog,
    read_manifest,
    read_publication,
)
from vedette_cli.tables.rows import (
    WILD,
    PresentityRow,
    Progress,
    PublicationState,
    StoredStates,
    SubscriptionRow,
    watcher_of,
)

BUCKETS_AT_ONCE = 256

Record = TypeVar("Record")


class CachedTables:
    """Reads in pages and never the names of all keys, so that a big table stops Redis for nobody."""

    def __init__(
        self, published: HashTable, dialogs: HashTable, states: StoredStates, *, progress: Progress | None = None
    ) -> None:
        self._published = published
        self._dialogs = dialogs
        self._states = states
        self._progress = progress

    @property
    def buckets(self) -> tuple[int, int]:
        """How many buckets the tables of presentities and of subscriptions have."""
        return self._published.buckets, self._dialogs.buckets

    @property
    def unreadable(self) -> int:
        """Entries that were passed over, since they are none of ours."""
        return self._published.unreadable + self._dialogs.unreadable

    async def presentities(self, pattern: str = "*") -> AsyncIterator[PresentityRow]:
        """Those with a publication, bucket by bucket. Raises RedisAwayError."""
        async for bucket in self._filled(self._published, pattern):
            async for page in self._published.pages(bucket):
                for row in await self._presentities_of(bucket, page, pattern):
                    yield row

    async def _presentities_of(self, bucket: int, page: list[Held], pattern: str) -> list[PresentityRow]:
        """The manifests among the entries, each with what the table has of its publications."""
        wanted: list[tuple[PresentityRow, list[bytes]]] = []
        for held in page:
            name = held.field.decode(errors="replace")
            event, _, uri = name.partition("|")
            if name.count("|") != 1 or not fnmatchcase(uri, pattern):
                continue
            manifest = _read(self._published, read_manifest, held)
            if manifest is None or not manifest.publications:
                continue
            row = PresentityRow(bucket, uri, event, manifest.version, len(manifest.publications), None, [])
            wanted.append((row, [id_ for id_, _ in manifest.publications]))
        if not wanted:
            return []
        keys = [(presentity_hash(row.presentity), id_) for row, ids in wanted for id_ in ids]
        states = await self._states.publications(keys)
        if states is None:
            states = await self._cached_publications(bucket, page, wanted)
        rows: list[PresentityRow] = []
        for row, ids in wanted:
            alive = [(id_, states[id_]) for id_ in ids if id_ in states]
            rows.append(
                row._replace(
                    expires=max((state.expires for _, state in alive), default=None),
                    etags=[entity_tag(id_, state.sequence) for id_, state in alive],
                )
            )
        return rows

    async def _cached_publications(
        self, bucket: int, page: list[Held], wanted: list[tuple[PresentityRow, list[bytes]]]
    ) -> dict[bytes, PublicationState]:
        """What the table has of these publications: as they were when their bodies came."""
        fields = {publication_field(row.presentity, row.event, id_): id_ for row, ids in wanted for id_ in ids}
        at_hand = {held.field: held.payload for held in page}
        elsewhere = [field for field in fields if field not in at_hand]
        for field, entry in zip(elsewhere, await self._published.get([(bucket, f) for f in elsewhere]), strict=True):
            if entry is not None and entry[1]:
                at_hand[field] = entry[1]
        now = time.time()
        states: dict[bytes, PublicationState] = {}
        for field, id_ in fields.items():
            if field not in at_hand:
                continue
            record = _read(self._published, read_publication, Held(field, 0, 0, at_hand[field]))
            if record is not None and record.expires > now:
                states[id_] = PublicationState(record.sequence, record.expires)
        return states

    async def subscriptions(self, pattern: str = "*") -> AsyncIterator[SubscriptionRow]:
        """The dialogs whose time is not over, bucket by bucket. Raises RedisAwayError."""
        async for bucket in self._filled(self._dialogs, pattern):
            async for page in self._dialogs.pages(bucket):
                now = time.time()
                read = [_read(self._dialogs, read_dialog, held) for held in page]
                records = [
                    record
                    for record in read
                    if record is not None and record.expires > now and fnmatchcase(record.presentity_uri, pattern)
                ]
                states = await self._states.states(records)
                for record in records:
                    state = states.get(record.dialog_id)
                    yield SubscriptionRow(
                        bucket,
                        record.presentity_uri,
                        record.event,
                        record.event_id,
                        watcher_of(record.from_value),
                        record.call_id,
                        record.to_tag,
                        record.from_tag,
                        None if state is None else state.remote_cseq,
                        None if state is None else state.local_cseq,
                        record.expires,
                        None if state is None else state.status,
                        record.contact,
                        f"{record.flow.transport}:{record.flow.host}:{record.flow.port}",
                        record.revision,
                    )

    async def _filled(self, table: HashTable, pattern: str) -> AsyncIterator[int]:
        """The buckets that have entries, in order; for a whole URI only its own."""
        if not WILD.intersection(pattern):
            yield table.bucket(presentity_hash(pattern))
            return
        for first in range(0, table.buckets, BUCKETS_AT_ONCE):
            for offset, count in enumerate(await table.counts(first, BUCKETS_AT_ONCE)):
                if self._progress is not None:
                    self._progress(first + offset, table.buckets)
                if count:
                    yield first + offset


def _read(table: HashTable, read: Callable[[bytes], Record], held: Held) -> Record | None:
    try:
        return read(held.payload)
    except UNREADABLE as error:
        table.distrust(str(error), held.field)
        return None
