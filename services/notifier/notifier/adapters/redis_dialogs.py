"""Delivery, expiry and recovery where the dialogs are in Redis (`fallback2db=0`).

What changed is still told by change events in Postgres, and the version of a presentity is still there. A dialog's
debt is in its bucket: an event becomes marks and debts in one atomic step, and is deleted after that.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from notifier.adapters.postgres import Change, NotifierStore, State
from notifier.domain.claims import Claim, Decided
from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import SILENCES, Settlement
from notifier.domain.watchers import Span, WatcherRow, WatcherRows
from notifier.flows.ports import Settled
from vedette.records import DialogRecord
from vedette.rpc.contract import Outcome
from vedette.store.database import StoreError
from vedette.store.dialog_tables import scripts
from vedette.store.dialog_tables.rows import pack, read_dialog_row
from vedette.store.dialog_tables.tables import ENDING, OWED, SLICE, Argument, DialogTables
from vedette.store.redis_link import Script

LEASE = 5.0
"""Seconds after which a change event that somebody took, and did not deal with, is taken again."""
BUCKETS = 64
"""Buckets that are looked at in one step."""

_ALIVE = ("expires", "owed", "marks")
"""The kinds of a bucket of which one has every dialog that may still be sent something."""

PresentityKey = tuple[int, str, str]


class RedisDialogStore:
    """The ports of the flows, as NotifierStore has them for dialogs in Postgres. Every method raises StoreError."""

    def __init__(
        self,
        store: NotifierStore,
        tables: DialogTables,
        instance: str,
        *,
        patience: float,
        keep_soon: Callable[[], None],
    ) -> None:
        """`patience`: seconds until the outcome of a NOTIFY is no longer awaited.

        `keep_soon`: told when a dialog gets no further CSeq before Postgres has the one it is at.
        """
        self._store = store
        self._tables = tables
        self._instance = instance
        self._patience = patience
        self._keep_soon = keep_soon

    @property
    def asks_again(self) -> bool:
        """Redis carries out a claim piece by piece; what is lost of one is given up."""
        return False

    @property
    def misses_claims(self) -> bool:
        """Nothing is asked for again."""
        return False

    async def claim(self, events: int, dialogs: int) -> list[Claim]:
        """NOTIFYs that are owed, now marked as ours."""
        while True:
            seen = await self._tables.take(OWED, BUCKETS)
            due = await self._due(seen, dialogs)
            changes = await self._store.claim_changes(events, LEASE, sorted(due))
            claims = await self._mark(due, changes, dialogs)
            taken = [change for change in changes if change.id is not None]
            # What is marked is ours, whatever becomes of this: events that stay come again, and mean nothing then.
            if taken:
                with contextlib.suppress(StoreError):
                    await self._store.forget_changes(taken)
            if claims or (len(taken) < events and len(seen) < BUCKETS):
                return claims

    async def changes_left(self) -> bool:
        """A claim goes on until it has found something or left nothing."""
        return False

    async def _due(self, buckets: Iterable[int], limit: int) -> dict[PresentityKey, list[str]]:
        """The dialogs that owe a NOTIFY for themselves, by their presentities."""
        wanted = list(buckets)
        if not wanted:
            return {}
        share = max(1, limit // len(wanted))
        found = await self._tables.run(scripts.DUE, dict.fromkeys(wanted, (share,)))
        due: dict[PresentityKey, list[str]] = {}
        for rows in found.values():
            for dialog, uri, event, hash_ in rows:
                due.setdefault((hash_, uri.decode(), event.decode()), []).append(dialog.decode())
        return due

    async def _mark(self, due: dict[PresentityKey, list[str]], changes: Sequence[Change], limit: int) -> list[Claim]:
        groups = _group(due, changes)
        by_bucket: dict[int, list[PresentityKey]] = {}
        for key in groups:
            by_bucket.setdefault(self._tables.bucket(key[0]), []).append(key)
        if not by_bucket:
            return []
        share = max(1, limit // len(by_bucket))
        calls: dict[int, Sequence[Argument]] = {
            bucket: (self._instance, self._patience, share, *(groups[key].packed(key) for key in keys))
            for bucket, keys in by_bucket.items()
        }
        claims: list[Claim] = []
        for bucket, (at, held, marked) in (await self._tables.run(scripts.MARK, calls)).items():
            if held:
                self._keep_soon()
            for group, dialog, cseq, document_version, status, revision, before, digest, *span in marked:
                hash_, uri, event = by_bucket[bucket][group - 1]
                claims.append(
                    Claim(
                        presentity_hash=hash_,
                        presentity_uri=uri,
                        event=event,
                        version=groups[hash_, uri, event].version,
                        dialog_id=bytes.fromhex(dialog.decode()),
                        cseq=cseq,
                        document_version=document_version,
                        status=status,
                        revision=revision,
                        sent_before=before,
                        acked_digest=bytes.fromhex(digest.decode()) or None,
                        since=span[0],
                        until=span[1],
                        whole=bool(span[2]),
                        at=float(at),
                        rules=groups[hash_, uri, event].rules,
                    )
                )
        return claims

    async def apply(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> int:
        """Settle outcomes; how many dialogs owe another NOTIFY now."""
        return (await self.settle(outcomes)).again

    async def settle(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> Settled:
        """The same; also which dialogs have ended."""
        calls: dict[int, list[Argument]] = {}
        for outcome, settlement in outcomes:
            bucket = self._tables.bucket(outcome.presentity_hash)
            calls.setdefault(bucket, [SILENCES]).append(
                pack(
                    (
                        outcome.dialog_id.hex(),
                        outcome.cseq,
                        settlement.verdict.value,
                        settlement.seconds,
                        settlement.reason,
                        outcome.digest.hex(),
                        outcome.status,
                    )
                )
            )
        again = 0
        ended: dict[str, tuple[list[str], list[tuple[float, str]]]] = {}
        for rows in (await self._tables.run(scripts.SETTLE, calls)).values():
            for dialog, owes, watcher in rows:
                again += owes
                if watcher:
                    ended.setdefault(watcher.decode(), ([], []))[0].append(dialog.decode())
        await self._forget(ended)
        return Settled(again, [bytes.fromhex(dialog) for dialogs, _ in ended.values() for dialog in dialogs])

    async def decide(self, decided: Sequence[Decided]) -> int:
        """Have the subscriptions become what was decided; how many owe a NOTIFY now.

        Where the rules have become others meanwhile nothing is decided. They are looked at just before, since Redis
        does not have them.
        """
        keys = [(item.claim.presentity_hash, item.claim.presentity_uri, item.claim.event) for item in decided]
        versions = await self._store.rules(keys)
        calls: dict[int, list[Argument]] = {}
        for item, version in zip(decided, versions, strict=True):
            claim = item.claim
            calls.setdefault(self._tables.bucket(claim.presentity_hash), []).append(
                pack((claim.dialog_id.hex(), claim.cseq, item.rules == version, item.status, item.reason))
            )
        owed = 0
        ended: dict[str, tuple[list[str], list[tuple[float, str]]]] = {}
        for rows in (await self._tables.run(scripts.DECIDE, calls)).values():
            owed += len(rows)
            for dialog, watcher in rows:
                if watcher:
                    ended.setdefault(watcher.decode(), ([], []))[0].append(dialog.decode())
        await self._forget(ended)
        return owed

    async def rules(self, presentities: Sequence[PresentityKey]) -> list[int]:
        """The version of the rules of each presentity now; 0: there are none."""
        return await self._store.rules(presentities)

    async def judge_due(self, limit: int) -> int:
        """Have those judged again for whom rules begin or cease to be valid; of how many presentities."""
        return await self._store.judge_due(limit)

    async def sweep_decisions(self, limit: int) -> int:
        """Forget what rules decided about watchers who are long gone; how many rows."""
        return await self._store.sweep_decisions(limit)

    async def _forget(self, ended: dict[str, tuple[list[str], list[tuple[float, str]]]]) -> None:
        """These dialogs of watchers count no more; where that fails, they do until their time is over."""
        with contextlib.suppress(StoreError):
            await self._tables.watchers(ended)

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """The dialogs with these keys, as far as they are there."""
        calls: dict[int, list[Argument]] = {}
        for hash_, dialog_id in keys:
            calls.setdefault(self._tables.bucket(hash_), []).append(dialog_id.hex())
        found = await self._tables.run(scripts.READ, calls)
        return [read_dialog_row(row).record() for rows in found.values() for row in rows if row]

    async def states(self, presentities: Sequence[PresentityKey]) -> dict[PresentityKey, State]:
        """The states of these presentities as they are now, all in one snapshot."""
        return await self._store.states(presentities)

    async def watchers(self, wanted: Sequence[tuple[PresentityKey, Span]]) -> list[WatcherRows]:
        """For each presentity that is watched, what a document of that span shows."""
        by_bucket: dict[int, list[int]] = {}
        for index, ((hash_, _, _), _) in enumerate(wanted):
            by_bucket.setdefault(self._tables.bucket(hash_), []).append(index)
        calls: dict[int, Sequence[Argument]] = {
            bucket: [pack((f"{wanted[i][0][2]}|{wanted[i][0][1]}", *wanted[i][1])) for i in indexes]
            for bucket, indexes in by_bucket.items()
        }
        documents: dict[int, WatcherRows] = {}
        for bucket, found in (await self._tables.run(scripts.WATCHERS, calls)).items():
            for index, (full, rows) in zip(by_bucket[bucket], found, strict=True):
                documents[index] = WatcherRows(bool(full), sorted(map(_watcher, rows), key=_in_order))
        return [documents[index] for index in range(len(wanted))]

    async def expire(self, limit: int) -> list[Ended]:
        """End what is over; what ended."""
        ended = await self._store.expire(limit, dialogs_elsewhere=True)
        try:
            ended += await self._expire_dialogs(limit)
        except StoreError:
            if not ended:
                raise
        return ended

    async def _expire_dialogs(self, limit: int) -> list[Ended]:
        seen = await self._tables.take(ENDING, BUCKETS)
        if not seen:
            return []
        found = await self._tables.run(scripts.EXPIRE, dict.fromkeys(seen, (max(1, limit // len(seen)),)))
        rows = [read_dialog_row(packed) for packed_rows in found.values() for packed in packed_rows]
        return [
            Ended(
                "dialog",
                row.presentity_hash,
                row.presentity_uri,
                row.event,
                bytes.fromhex(row.dialog_id),
                0,
                row.revision,
                (),
                watched=True,
            )
            for row in rows
        ]

    async def sweep(self, age: float, limit: int) -> int:
        """Remove tombstones older than `age` seconds; how many rows."""
        removed = 0
        for start in range(0, len(self._tables.buckets), SLICE):
            part = self._tables.buckets[start : start + SLICE]
            with_tombstones = await self._tables.first_times("ended", part)
            found = await self._tables.run(scripts.SWEEP, dict.fromkeys(with_tombstones, (age, limit)))
            removed += sum(found.values())
        return removed + await self._store.sweep(age, limit)

    async def forget_replicas(self, age: float) -> None:
        """Forget the processes that were not seen for `age` seconds."""
        await self._store.forget_replicas(age)

    async def clear_marks(self, dead: Sequence[str], limit: int, grace: float) -> int:
        """Give up the marks of dead notifiers, and those whose time is over; how many."""
        await self._tables.look_everywhere()
        return await self._everywhere(scripts.CLEAR_MARKS, ["marks"], limit, self._patience - grace, *dead)

    async def have_marks(self, notifiers: Sequence[str]) -> set[str]:
        """Those of the notifiers that still have marks."""
        holders: set[str] = set()
        for start in range(0, len(self._tables.buckets), SLICE):
            marked = await self._tables.first_times("marks", self._tables.buckets[start : start + SLICE])
            for names in (await self._tables.run(scripts.MARKS_OF, dict.fromkeys(marked, ()))).values():
                holders.update(name.decode() for name in names)
        return holders & set(notifiers)

    async def rehome(self, gone: str, instance: str, address: str, limit: int, *, gently: bool = False) -> int:
        """Give the dialogs of an edge that is gone to another one; how many."""
        del limit  # a bucket is small enough to be one step
        return await self._everywhere(scripts.REHOME, _ALIVE, gone, instance, address, int(gently))

    async def datagram_dialogs(self, edge: str) -> int:
        """How many UDP dialogs an edge has."""
        return await self._everywhere(scripts.DATAGRAM_DIALOGS, _ALIVE, edge)

    async def _everywhere(self, script: Script, kinds: Sequence[str], *arguments: Argument) -> int:
        """The sum of what the script says of the buckets that have something of one of these kinds."""
        total = 0
        for start in range(0, len(self._tables.buckets), SLICE):
            part = self._tables.buckets[start : start + SLICE]
            filled = {bucket for kind in kinds for bucket in await self._tables.first_times(kind, part)}
            found = await self._tables.run(script, dict.fromkeys(sorted(filled), arguments))
            total += sum(found.values())
        return total


class _Group:
    """What is to be marked of one presentity."""

    def __init__(self, change: Change) -> None:
        self.version = change.version
        self.rules = change.rules
        self.judged = change.judged
        self.everybody = False
        self.dialogs: list[str] = []
        self.senders: list[tuple[str, int, int, int]] = []

    def packed(self, key: PresentityKey) -> bytes:
        """As the script reads it."""
        dialogs = [] if self.everybody else self.dialogs
        return pack((f"{key[2]}|{key[1]}", self.version, dialogs, self.senders, self.judged))


def _group(due: dict[PresentityKey, list[str]], changes: Sequence[Change]) -> dict[PresentityKey, _Group]:
    """By presentity: the version to bring, whom to bring it to, and who is not told of a change of its own."""
    groups: dict[PresentityKey, _Group] = {}
    for change in changes:
        key = (change.presentity_hash, change.presentity_uri, change.event)
        group = groups.setdefault(key, _Group(change))
        if change.id is None:
            group.dialogs += due[key]
        elif change.dialog_id is not None:
            group.dialogs.append(change.dialog_id.hex())
        else:
            group.everybody = True
            group.senders += _senders(change)
    return groups


def _senders(change: Change) -> list[tuple[str, int, int, int]]:
    """The dialogs of who made the change: id, CSeq before it, versions before and after."""
    if change.sender is None or change.sender_before is None or change.sender_after is None:
        return []
    dialogs = [dialog.partition(":") for dialog in change.sender.split()]
    return [(id_, int(cseq), change.sender_before, change.sender_after) for id_, _, cseq in dialogs]


def _watcher(row: list[Any]) -> WatcherRow:
    dialog, username, domain, from_uri, status, status_event, created, expires = row
    return WatcherRow(
        dialog_id=bytes.fromhex(dialog.decode()),
        watcher_username=username.decode(),
        watcher_domain=domain.decode(),
        from_uri=from_uri.decode(),
        status=status,
        status_event=status_event.decode(),
        created=float(created),
        expires=float(expires),
    )


def _in_order(row: WatcherRow) -> tuple[float, bytes]:
    return row.created, row.dialog_id
