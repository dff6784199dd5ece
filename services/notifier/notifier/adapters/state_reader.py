"""Reading dialogs and states: from our own memory, from the hash tables in Redis, from Postgres, in this order.

In our memory is what was read, and what the rings of the bell told. An entry of a cache is used only where its
version is the one that the claim just named (a claim is made in Postgres, under the presentity's lock); everything
else is read from Postgres and put back.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from notifier.adapters.postgres import State
from notifier.domain.claims import TERMINATED, Claim
from notifier.domain.recent import Recent
from notifier.domain.views import ReadState
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
from vedette.store.news import read_news
from vedette.store.redis_link import RedisAwayError

MANIFEST_SECONDS = 86400.0
PRESENTITIES, PUBLICATIONS = 20_000, 50_000
"""Of so many presentities it is remembered which publications they had, so many together."""
TOLD, TOLD_OCTETS = 20_000, 16 * 1024 * 1024
"""Of so many entries it is remembered what a ring told of them."""
DIALOG_OCTETS = 4096
"""What a remembered dialog may have on average; with headers of ordinary length it has 1800."""
_OVERHEAD = 1550
"""Of a record, its fields that are never long, and its place in the memory."""

Record = TypeVar("Record")
Key = tuple[int, str, str]
Found = dict[tuple[Key, int], ReadState]
EntriesOf = Callable[[Sequence[tuple[int, bytes]]], Awaitable[list[tuple[int, bytes] | None]]]
"""Version and payload for each (presentity hash, field), None where a cache has nothing. May raise RedisAwayError."""


class RecordStore(Protocol):
    """Where everything is. Its methods raise StoreError."""

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """The dialogs with these keys, as far as they are there."""

    async def states(self, presentities: Sequence[Key]) -> dict[Key, State]:
        """The states of these presentities as they are now, all in one snapshot."""

    async def watchers(self, wanted: Sequence[tuple[Key, Span]]) -> list[WatcherRows]:
        """For each presentity that is watched, what a document of that span shows."""

    async def rules(self, presentities: Sequence[Key]) -> list[int]:
        """The version of the rules of each presentity now; 0: there are none."""


class StateReader:
    """Counts where it found things: `memory`, `redis` (the cache), `postgres` (the store)."""

    def __init__(self, store: RecordStore, published: HashTable, dialogs: HashTable | None, *, remember: int) -> None:
        """`dialogs` None: the store of dialogs is in Redis itself, and nothing is put before it."""
        self._store = store
        self._published = published
        self._dialogs = dialogs
        self._recent: Recent[bytes, DialogRecord] = Recent(
            remember, max_weight=remember * DIALOG_OCTETS, weigh=_octets
        )
        self._made_of: Recent[Key, list[bytes]] = Recent(
            PRESENTITIES, max_weight=PUBLICATIONS, weigh=lambda _, ids: len(ids)
        )
        """The publications of presentities as they were read last."""
        self._told: Recent[bytes, tuple[int, bytes]] = Recent(TOLD, max_weight=TOLD_OCTETS, weigh=_told_octets)
        """Version and payload of entries that rings told of, by their fields, which no two tables share."""
        self.hits = {"memory": 0, "redis": 0, "postgres": 0}

    async def dialogs(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """The dialogs of the claims by id; one that is not there any more is left out. Raises StoreError."""
        found: dict[bytes, DialogRecord] = {}
        missing: list[Claim] = []
        remembered = self._recent.get
        for claim in claims:
            record = remembered(claim.dialog_id)
            if record is not None and record.revision == claim.revision:
                found[claim.dialog_id] = record
            else:
                missing.append(claim)
        self.hits["memory"] += len(found)
        if missing:
            records = await self._read(missing)
            found.update(records)
            self._remember(missing, records)
        for claim in claims:
            if claim.status == TERMINATED:  # it has no more
                self._recent.forget(claim.dialog_id)
        return found

    async def _read(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """The dialogs that were not read before."""
        told = await self._dialogs_of(self._from_rings, claims)
        self.hits["memory"] += len(told)
        found = {record.dialog_id: record for record in told}
        missing = [claim for claim in claims if claim.dialog_id not in found]
        if missing and self._dialogs is not None:
            cached = await self._dialogs_of(self._dialogs.get, missing)
            self.hits["redis"] += len(cached)
            found.update((record.dialog_id, record) for record in cached)
            missing = [claim for claim in missing if claim.dialog_id not in found]
        if missing:
            records = await self._store.dialogs([(claim.presentity_hash, claim.dialog_id) for claim in missing])
            self.hits["postgres"] += len(records)
            found.update((record.dialog_id, record) for record in records)
            if self._dialogs is not None:
                await _put(self._dialogs, map(dialog_entry, records))
        return found

    def learn(self, news: bytes) -> None:
        """A ring of the bell brought entries along."""
        try:
            told = read_news(news)
        except UNREADABLE as error:
            self._published.distrust(str(error), b"what a ring has brought")
            return
        if told.database != self._published.database:
            return  # another system's, on the same server
        for field, version, payload in (*told.published, *told.dialogs):
            self._told.put(field, (version, payload))

    async def _from_rings(self, wanted: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes] | None]:
        """Version and payload for each (presentity hash, field) that rings told of, which may be old by now."""
        return [self._told.get(field) for _, field in wanted]

    def _remember(self, claims: Sequence[Claim], read: Mapping[bytes, DialogRecord]) -> None:
        """Keep what was read for the next NOTIFYs."""
        for claim in claims:
            if claim.status != TERMINATED and claim.dialog_id in read:
                self._recent.put(claim.dialog_id, read[claim.dialog_id])

    @property
    def remembers(self) -> int:
        """How many dialogs are in memory."""
        return len(self._recent)

    async def _dialogs_of(self, entries_of: EntriesOf, claims: Sequence[Claim]) -> list[DialogRecord]:
        """The dialogs that a cache has at exactly these revisions."""
        table = self._dialogs
        if not claims or table is None:
            return []
        try:
            entries = await entries_of([(c.presentity_hash, dialog_field(c.dialog_id)) for c in claims])
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
            if record is not None
            and (record.dialog_id, record.revision) == (claim.dialog_id, claim.revision)
            and record.watcher_domain
        ]

    async def states(self, wanted: Sequence[tuple[Key, int]]) -> Found:
        """The state of each (presentity, version): of that version or a newer one. Raises StoreError."""
        found = await self._states_of(self._from_rings, wanted)
        self.hits["memory"] += len(found)
        missing = [key for key in wanted if key not in found]
        if missing:
            cached = await self._states_of(self._published.get, missing)
            self.hits["redis"] += len(cached)
            found |= cached
            missing = [key for key in missing if key not in found]
        if not missing:
            return found
        states = await self._store.states([presentity for presentity, _ in missing])
        self.hits["postgres"] += len(missing)
        entries: list[Entry] = []
        for presentity, version in missing:
            state = states.get(presentity)
            found[presentity, version] = ReadState(*((state.publications, state.rules) if state else ([], None)))
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

    async def rules_now(self, wanted: Sequence[Key]) -> dict[Key, int]:
        """The version of the rules of each presentity, as Postgres has it now. Raises StoreError."""
        return dict(zip(wanted, await self._store.rules(wanted), strict=True))

    async def watchers(self, wanted: Sequence[tuple[Key, Span]]) -> list[WatcherRows]:
        """The watchers that each document shows, as Postgres has them now: no cache has them. Raises StoreError."""
        self.hits["postgres"] += len(wanted)
        return await self._store.watchers(wanted)

    async def _states_of(self, entries_of: EntriesOf, keys: Sequence[tuple[Key, int]]) -> Found:
        """The states that a cache has at exactly these versions.

        What a presentity consisted of when it was read last is asked for together with its manifest: mostly it is a
        publication that was modified, and one call is enough.
        """
        found: Found = {}
        table = self._published
        manifest_names = [(key[0], manifest_field(key[1], key[2])) for key, _ in keys]
        guessed = [
            (key[0], publication_field(key[1], key[2], publication_id))
            for key, _ in keys
            for publication_id in self._made_of.get(key) or ()
        ]
        try:
            answers = await entries_of(manifest_names + guessed)
            manifests = self._manifests(keys, manifest_names, answers)
            entries = dict(zip(guessed, answers[len(keys) :], strict=True))
            missing = [
                name
                for (key, _), publications in manifests.items()
                for publication_id, _ in publications
                if (name := (key[0], publication_field(key[1], key[2], publication_id))) not in entries
            ]
            if missing:
                entries.update(zip(missing, await entries_of(missing), strict=True))
        except RedisAwayError:
            return found
        for (key, version), publications in manifests.items():
            records: list[PublicationRecord] = []
            for publication_id, _ in publications:
                field = publication_field(key[1], key[2], publication_id)
                entry = entries[key[0], field]
                record = _read(table, read_publication, field, entry[1]) if entry is not None and entry[1] else None
                if record is not None:
                    records.append(record)
            if {(record.publication_id, record.version) for record in records} == set(publications):
                found[key, version] = ReadState(records)
                self._made_of.put(key, [record.publication_id for record in records])
        return found

    def _manifests(
        self,
        keys: Sequence[tuple[Key, int]],
        names: Sequence[tuple[int, bytes]],
        answers: Sequence[tuple[int, bytes] | None],
    ) -> dict[tuple[Key, int], list[tuple[bytes, int]]]:
        """Of what each presentity consists, where the table has it at the version that is asked for."""
        manifests: dict[tuple[Key, int], list[tuple[bytes, int]]] = {}
        for (key, version), (_, name), entry in zip(keys, names, answers, strict=False):
            if entry is not None and entry[0] == version and entry[1]:
                manifest = _read(self._published, read_manifest, name, entry[1])
                if manifest is not None and manifest.version == version:
                    manifests[key, version] = manifest.publications
        return manifests


def _told_octets(field: bytes, entry: tuple[int, bytes]) -> int:
    return 200 + len(field) + len(entry[1])


def _octets(_id: bytes, record: DialogRecord) -> int:
    """About what a dialog takes in memory."""
    return (
        _OVERHEAD
        + len(record.presentity_uri)
        + len(record.call_id)
        + len(record.to_tag)
        + len(record.from_tag)
        + len(record.to_value)
        + len(record.from_value)
        + len(record.contact)
        + sum(map(len, record.record_route))
        + len(record.accept)
        + len(record.event_id)
    )


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
