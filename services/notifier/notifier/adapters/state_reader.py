"""Reading dialogs and states: from our own memory, from the hash tables in Redis, from Postgres, in this order.

An entry of a cache is used only where its version is the one that the claim just named (a claim is made in Postgres,
under the presentity's lock); everything else is read from Postgres and put back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from notifier.adapters.postgres import State
from notifier.domain.claims import Claim
from notifier.domain.recent import Recent
from notifier.domain.watchers import Span, WatcherRows
from vedette.records import DialogRecord, PublicationRecord
from vedette.store.hash_tables import (
    UNREADABLE,
    Entry,
    HashTable,
    dialog_entry,
    dialog_field,
    manifest_entry,
    manifest_field,
    publication_entry,
    publication_field,
    read_dialog,
    read_manifest,
    read_publication,
)
from vedette.store.redis_link import RedisAwayError

MANIFEST_SECONDS = 86400.0

Record = TypeVar("Record")
Key = tuple[int, str, str]
Found = dict[tuple[Key, int], list[PublicationRecord]]


class RecordStore(Protocol):
    """Where everything is. Its methods raise StoreError."""

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """The dialogs with these keys, as far as they are there."""

    async def states(self, presentities: Sequence[Key]) -> dict[Key, State]:
        """The states of these presentities as they are now, all in one snapshot."""

    async def watchers(self, wanted: Sequence[tuple[Key, Span]]) -> list[WatcherRows]:
        """For each presentity that is watched, what a document of that span shows."""


class StateReader:
    """Counts where it found things: `memory`, `redis` (the cache), `postgres` (the store)."""

    def __init__(self, store: RecordStore, published: HashTable, dialogs: HashTable | None, *, remember: int) -> None:
        """`dialogs` None: the store of dialogs is in Redis itself, and nothing is put before it."""
        self._store = store
        self._published = published
        self._dialogs = dialogs
        self._recent: Recent[bytes, DialogRecord] = Recent(remember)
        self.hits = {"memory": 0, "redis": 0, "postgres": 0}

    async def dialogs(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """The dialogs of the claims by id; one that is not there any more is left out. Raises StoreError."""
        found: dict[bytes, DialogRecord] = {}
        missing: list[Claim] = []
        for claim in claims:
            record = self._recent.get(claim.dialog_id)
            if record is not None and record.revision == claim.revision:
                found[claim.dialog_id] = record
            else:
                missing.append(claim)
        self.hits["memory"] += len(found)
        for record in await self._cached_dialogs(missing):
            found[record.dialog_id] = record
            self._recent.put(record.dialog_id, record)
            self.hits["redis"] += 1
        missing = [claim for claim in missing if claim.dialog_id not in found]
        if missing:
            records = await self._store.dialogs([(claim.presentity_hash, claim.dialog_id) for claim in missing])
            self.hits["postgres"] += len(records)
            for record in records:
                found[record.dialog_id] = record
                self._recent.put(record.dialog_id, record)
            if self._dialogs is not None:
                await _put(self._dialogs, map(dialog_entry, records))
        return found

    async def _cached_dialogs(self, claims: Sequence[Claim]) -> list[DialogRecord]:
        table = self._dialogs
        if not claims or table is None:
            return []
        try:
            entries = await table.get([(c.presentity_hash, dialog_field(c.dialog_id)) for c in claims])
        except RedisAwayError:
            return []
        records = [
            (claim, _read(table, read_dialog, dialog_field(claim.dialog_id), entry[1]))
            for claim, entry in zip(claims, entries, strict=True)
            if entry is not None and entry[0] == claim.revision and entry[1]
        ]
        return [
            record
            for claim, record in records
            if record is not None and (record.dialog_id, record.revision) == (claim.dialog_id, claim.revision)
        ]

    async def states(self, wanted: Sequence[tuple[Key, int]]) -> Found:
        """The publications of each (presentity, version): of that version or a newer one. Raises StoreError."""
        found = await self._cached_states(wanted)
        self.hits["redis"] += len(found)
        missing = [key for key in wanted if key not in found]
        if not missing:
            return found
        states = await self._store.states([presentity for presentity, _ in missing])
        self.hits["postgres"] += len(missing)
        entries: list[Entry] = []
        for presentity, version in missing:
            state = states.get(presentity)
            found[presentity, version] = state.publications if state is not None else []
            if state is None or not state.manifest.version:
                continue
            newest = max((p.expires for p in state.publications), default=0.0)
            entries += [publication_entry(*presentity, record) for record in state.publications]
            entries.append(manifest_entry(*presentity, state.manifest, newest + MANIFEST_SECONDS))
        await _put(self._published, entries)
        return found

    async def published_now(self, wanted: Sequence[Key]) -> dict[Key, list[PublicationRecord]]:
        """The publications of each presentity, as Postgres has them now: no version says which of a cache would do.

        Raises StoreError.
        """
        states = await self._store.states(wanted)
        self.hits["postgres"] += len(wanted)
        return {key: states[key].publications if key in states else [] for key in wanted}

    async def watchers(self, wanted: Sequence[tuple[Key, Span]]) -> list[WatcherRows]:
        """The watchers that each document shows, as Postgres has them now: no cache has them. Raises StoreError."""
        self.hits["postgres"] += len(wanted)
        return await self._store.watchers(wanted)

    async def _cached_states(self, keys: Sequence[tuple[Key, int]]) -> Found:
        """The states that the table has at exactly these versions."""
        found: Found = {}
        table = self._published
        names = [manifest_field(uri, event) for (_, uri, event), _ in keys]
        manifests: dict[tuple[Key, int], list[tuple[bytes, int]]] = {}
        try:
            entries = await table.get([(key[0], name) for (key, _), name in zip(keys, names, strict=True)])
            for (key, version), name, entry in zip(keys, names, entries, strict=True):
                if entry is not None and entry[0] == version and entry[1]:
                    manifest = _read(table, read_manifest, name, entry[1])
                    if manifest is not None and manifest.version == version:
                        manifests[key, version] = manifest.publications
            fields = [
                (key[0], publication_field(key[1], key[2], publication_id))
                for (key, _), publications in manifests.items()
                for publication_id, _ in publications
            ]
            bodies = iter(zip(fields, await table.get(fields), strict=True))
        except RedisAwayError:
            return found
        for wanted, publications in manifests.items():
            records: list[PublicationRecord] = []
            for (_, field), entry in [next(bodies) for _ in publications]:
                record = _read(table, read_publication, field, entry[1]) if entry is not None and entry[1] else None
                if record is not None:
                    records.append(record)
            if {(record.publication_id, record.version) for record in records} == set(publications):
                found[wanted] = records
        return found


def _read(table: HashTable, read: Callable[[bytes], Record], field: bytes, payload: bytes) -> Record | None:
    """The record in a payload; None for one that is not ours, so that it is read from Postgres and put back."""
    try:
        return read(payload)
    except UNREADABLE as error:
        table.distrust(str(error), field)
        return None


async def _put(table: HashTable, entries: Iterable[Entry]) -> None:
    try:
        await table.put(entries)
    except RedisAwayError:
        return
