"""The notifier's calls to Postgres."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog

from notifier.domain.claims import Claim, Decided
from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import SILENCES, Settlement
from notifier.domain.watchers import Span, WatcherRow, WatcherRows
from notifier.flows.ports import Settled
from vedette.identity import Presentity
from vedette.records import DialogRecord, ManifestRecord, PublicationRecord, read_flow, split_routes
from vedette.rpc.contract import Outcome
from vedette.store.authorization import rule_versions
from vedette.store.database import Database, StoreUndecidedError

log = structlog.get_logger()

_DIALOGS = """
SELECT w.*
FROM unnest($1::int4[], $2::bytea[]) AS k (presentity_hash, dialog_id)
JOIN active_watchers AS w USING (presentity_hash, dialog_id)
"""

_STATES = """
SELECT s.presentity_hash, s.presentity_uri, s.event, s.version AS state_version, a.version AS rules, p.publication_id,
    p.version, p.sequence, p.content_type, p.body, p.expires, p.ended, p.received_time
FROM unnest($1::int4[], $2::text[], $3::text[]) AS k (presentity_hash, presentity_uri, event)
JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
LEFT JOIN watcher_rules AS a USING (presentity_hash, presentity_uri, event)
LEFT JOIN presentity AS p
    ON p.presentity_hash = s.presentity_hash AND p.presentity_uri = s.presentity_uri AND p.event = s.event
"""


class State(NamedTuple):
    """A presentity's state at one version."""

    manifest: ManifestRecord
    publications: list[PublicationRecord]
    rules: int = 0
    """The version of its rules; 0: there are none."""


class Change(NamedTuple):
    """A row of `claim_changes_v2`; without an id it is no event, and says a version only."""

    id: int | None
    presentity_hash: int
    presentity_uri: str
    event: str
    version: int
    dialog_id: bytes | None
    sender: str | None
    sender_before: int | None
    sender_after: int | None
    rules: int
    """The version of the presentity's rules; 0: there are none."""
    judged: int
    """Who is pending and was sent something before this version is to be judged again."""


class NotifierStore:
    """Every method but `clear_marks` is one call; each raises StoreError."""

    def __init__(
        self,
        database: Database,
        instance: str,
        *,
        patience: float,
        waiting_days: int = 3,
        mix_dialog_presence: bool = False,
    ) -> None:
        """`patience`: seconds until the outcome of a NOTIFY is no longer awaited.

        `waiting_days`: how long a subscription that ended while it was pending waits for a decision.
        `mix_dialog_presence`: presence shows calls, so it changes when one expires.
        """
        self.database = database
        self._instance = instance
        self._patience = timedelta(seconds=patience)
        self._waiting = timedelta(days=waiting_days)
        self._mixes = mix_dialog_presence
        self._claims = itertools.count(1)
        self._lost: list[int] = []

    @property
    def asks_again(self) -> bool:
        """Whether what a claim has marked whose answer was lost is had by the next one."""
        return True

    @property
    def misses_claims(self) -> bool:
        """Whether the answer of a claim was lost and has not been asked for yet."""
        return bool(self._lost)

    async def claim(self, events: int, dialogs: int) -> list[Claim]:
        """NOTIFYs that are owed, now marked as ours; one call at a time."""
        number = next(self._claims)
        try:
            rows = await self.database.fetch(
                "SELECT * FROM claim_notifies_v2($1, $2, $3, $4, $5, $6)",
                self._instance,
                events,
                dialogs,
                self._patience,
                number,
                self._lost,
            )
        except StoreUndecidedError:
            self._lost.append(number)
            raise
        lost, self._lost = self._lost, []
        if lost:
            log.info("asked again what was claimed", lost=lost, found=len(rows))
        if not rows:
            return []
        at = rows[0][-1].timestamp()  # one moment for all
        return [Claim._make((*row[:-2], at, row[-2])) for row in rows]

    async def changes_left(self) -> bool:
        """Whether there are changes that a claim would take now, or another notifier has taken a moment ago."""
        return bool(await self.database.fetch("SELECT FROM change_event WHERE due <= clock_timestamp() LIMIT 1"))

    async def apply(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> int:
        """Settle outcomes; how many dialogs owe another NOTIFY now."""
        return (await self.settle(outcomes)).again

    async def settle(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> Settled:
        """The same; also which dialogs have ended."""
        rows = await self.database.fetch(
            "SELECT * FROM apply_outcomes_v3($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [outcome.presentity_hash for outcome, _ in outcomes],
            [outcome.dialog_id for outcome, _ in outcomes],
            [outcome.cseq for outcome, _ in outcomes],
            [settlement.verdict for _, settlement in outcomes],
            [settlement.seconds for _, settlement in outcomes],
            [settlement.reason for _, settlement in outcomes],
            [outcome.digest for outcome, _ in outcomes],
            SILENCES,
            [outcome.status for outcome, _ in outcomes],
        )
        ended = [row["dialog_id"] for row in rows if not row["again"]]
        return Settled(len(rows) - len(ended), ended)

    async def decide(self, decided: Sequence[Decided]) -> int:
        """Have the subscriptions become what was decided; how many owe a NOTIFY now."""
        rows = await self.database.fetch(
            "SELECT decide_watchers_v1($1, $2, $3, $4, $5, $6) AS owed",
            [item.claim.presentity_hash for item in decided],
            [item.claim.dialog_id for item in decided],
            [item.claim.cseq for item in decided],
            [item.rules for item in decided],
            [item.status for item in decided],
            [item.reason for item in decided],
        )
        return int(rows[0]["owed"])

    async def judge_due(self, limit: int) -> int:
        """Have those judged again for whom rules begin or cease to be valid; of how many presentities."""
        rows = await self.database.fetch("SELECT judge_due_v1($1) AS judged", limit)
        return int(rows[0]["judged"])

    async def sweep_decisions(self, limit: int) -> int:
        """Forget what rules decided about watchers who are long gone; how many rows."""
        rows = await self.database.fetch("SELECT sweep_watchers_v1($1, $2) AS removed", self._waiting, limit)
        return int(rows[0]["removed"])

    async def rules(self, presentities: Sequence[tuple[int, str, str]]) -> list[int]:
        """The version of the rules of each presentity now; 0: there are none."""
        return await rule_versions(self.database, [Presentity(*key) for key in presentities])

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """The dialogs with these keys, as far as they are there."""
        rows = await self.database.fetch(_DIALOGS, [hash_ for hash_, _ in keys], [id_ for _, id_ in keys])
        return [
            DialogRecord(
                presentity_hash=row["presentity_hash"],
                dialog_id=row["dialog_id"],
                revision=row["revision"],
                presentity_uri=row["presentity_uri"],
                event=row["event"],
                event_id=row["event_id"],
                call_id=row["callid"],
                to_tag=row["to_tag"],
                from_tag=row["from_tag"],
                to_value=row["to_uri"],
                from_value=row["from_uri"],
                contact=row["contact"],
                record_route=split_routes(row["record_route"]),
                local_contact=row["local_contact"],
                accept=row["accept"],
                edge_instance=row["edge_instance"],
                edge_address=row["edge_address"],
                flow=read_flow(row["socket_info"]),
                expires=row["expires"].timestamp(),
                reason=row["reason"],
                watcher_username=row["watcher_username"],
                watcher_domain=row["watcher_domain"],
            )
            for row in rows
        ]

    async def states(self, presentities: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], State]:
        """The states of these presentities (hash, URI, event) as they are now, all in one snapshot."""
        rows = await self.database.fetch(
            _STATES, [p[0] for p in presentities], [p[1] for p in presentities], [p[2] for p in presentities]
        )
        found: dict[tuple[int, str, str], State] = {}
        for row in rows:
            key = (row["presentity_hash"], row["presentity_uri"], row["event"])
            state = found.setdefault(key, State(ManifestRecord(row["state_version"], []), [], row["rules"] or 0))
            if row["publication_id"] is None or row["ended"] is not None:
                continue
            state.manifest.publications.append((row["publication_id"], row["version"]))
            state.publications.append(
                PublicationRecord(
                    publication_id=row["publication_id"],
                    version=row["version"],
                    sequence=row["sequence"],
                    content_type=row["content_type"],
                    body=row["body"],
                    expires=row["expires"].timestamp(),
                    received=row["received_time"].timestamp(),
                )
            )
        return found

    async def watchers(self, wanted: Sequence[tuple[tuple[int, str, str], Span]]) -> list[WatcherRows]:
        """For each presentity (hash, URI, event) that is watched, what a document of that span shows; all at once."""
        found = [WatcherRows(span.whole, []) for _, span in wanted]
        rows = await self.database.fetch(
            "SELECT * FROM read_watchers_v1($1, $2, $3, $4, $5, $6)",
            [key[0] for key, _ in wanted],
            [key[1] for key, _ in wanted],
            [key[2] for key, _ in wanted],
            [span.since for _, span in wanted],
            [span.until for _, span in wanted],
            [span.whole for _, span in wanted],
        )
        for ordinal, full, *values, created, expires in rows:
            index = ordinal - 1
            if full and not found[index].full:
                found[index] = WatcherRows(full, [])
            found[index].rows.append(WatcherRow._make((*values, created.timestamp(), expires.timestamp())))
        return found

    async def expire(self, limit: int, *, dialogs_elsewhere: bool = False) -> list[Ended]:
        """End what is over; what ended. With `dialogs_elsewhere` publications only."""
        rows = await self.database.fetch(
            "SELECT * FROM expire_batch_v2($1, $2, $3, $4)", limit, self._waiting, dialogs_elsewhere, self._mixes
        )
        return [
            Ended(
                row["kind"],
                row["presentity_hash"],
                row["presentity_uri"],
                row["event"],
                row["id"],
                row["version"],
                row["revision"],
                tuple(zip(row["other_ids"] or (), row["other_versions"] or (), strict=True)),
                row["watched"],
            )
            for row in rows
        ]

    async def claim_changes(
        self, events: int, lease: float, presentities: Sequence[tuple[int, str, str]]
    ) -> list[Change]:
        """Change events, nobody else's for `lease` seconds, and the versions of these presentities now."""
        rows = await self.database.fetch(
            "SELECT * FROM claim_changes_v2($1, $2, $3, $4, $5)",
            events,
            timedelta(seconds=lease),
            [p[0] for p in presentities],
            [p[1] for p in presentities],
            [p[2] for p in presentities],
        )
        return [Change._make(row) for row in rows]

    async def forget_changes(self, changes: Sequence[Change]) -> None:
        """These change events are dealt with."""
        await self.database.fetch(
            "DELETE FROM change_event AS e USING unnest($1::int4[], $2::int8[]) AS k (hash, id) "
            "WHERE e.presentity_hash = k.hash AND e.id = k.id",
            [change.presentity_hash for change in changes],
            [change.id for change in changes],
        )

    async def sweep(self, age: float, limit: int) -> int:
        """Remove tombstones older than `age` seconds; how many rows."""
        rows = await self.database.fetch(
            "SELECT sweep_tombstones_v1($1, $2) AS removed", timedelta(seconds=age), limit
        )
        return int(rows[0]["removed"])

    async def forget_replicas(self, age: float) -> None:
        """Forget the processes that were not seen for `age` seconds, those aside that may have left something."""
        await self.database.fetch(
            "DELETE FROM replica WHERE service NOT IN ('sip-edge', 'notifier') "
            "AND seen < clock_timestamp() - make_interval(secs => $1)",
            age,
        )

    async def clear_marks(self, dead: Sequence[str], limit: int, grace: float) -> int:
        """Give up the marks of dead notifiers, and those whose time is over; how many: the limit, or a call more."""
        cleared, again = 0, True
        while again and cleared < limit:
            (row,) = await self.database.fetch(
                "SELECT * FROM clear_marks_v2($1, $2, $3, $4)",
                list(dead),
                limit,
                self._patience,
                timedelta(seconds=grace),
            )
            cleared += row["cleared"]
            again = row["again"]
        return cleared

    async def have_marks(self, notifiers: Sequence[str]) -> set[str]:
        """Those of the notifiers with claims that were not looked at: too young, or of a busy presentity."""
        rows = await self.database.fetch(
            "SELECT DISTINCT c.notifier FROM notify_claim AS c WHERE c.notifier = ANY ($1::text[])", list(notifiers)
        )
        return {row["notifier"] for row in rows}

    async def rehome(self, gone: str, instance: str, address: str, limit: int, *, gently: bool = False) -> int:
        """Give the dialogs of an edge that is gone to another one; how many."""
        rows = await self.database.fetch(
            "SELECT rehome_dialogs_v2($1, $2, $3, $4, $5) AS moved", gone, instance, address, limit, gently
        )
        return int(rows[0]["moved"])

    async def datagram_dialogs(self, edge: str) -> int:
        """How many UDP dialogs an edge has."""
        rows = await self.database.fetch(
            "SELECT count(*) FILTER (WHERE transport = 'udp') AS dialogs FROM delivery WHERE edge_instance = $1", edge
        )
        return int(rows[0]["dialogs"])
