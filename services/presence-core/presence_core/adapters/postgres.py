"""The two database calls that decide, and the queries behind REST."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

import asyncpg

from presence_core.adapters.redis_dialogs import RedisDialogs
from presence_core.domain.policy import Policy
from presence_core.domain.publish import LINGER, PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict, in_turns, new_watchers
from presence_core.domain.succession import Held
from vedette.events.package import Publication
from vedette.events.presence import published_sphere
from vedette.identity import Presentity
from vedette.records import DialogRecord, join_routes, split_routes, write_flow
from vedette.sip.uri import split_aor
from vedette.store.database import Database, StoreUnavailableError, StoreUndecidedError

_PUBLISH = (
    "SELECT * FROM publish_batch_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, "
    "$19, $20)"
)
_HELD = """
SELECT p.publication_id, p.sequence, p.body, p.content_type
FROM unnest($1::int4[], $2::bytea[]) AS k (presentity_hash, publication_id)
JOIN presentity AS p USING (presentity_hash, publication_id)
"""
_PUBLISHED = """
SELECT r.ordinal, p.publication_id, p.content_type, p.body
FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS r (hash, uri, event, ordinal)
JOIN LATERAL (
    SELECT p.* FROM presentity AS p
    WHERE p.presentity_hash = r.hash AND p.presentity_uri = r.uri AND p.event = r.event
    OFFSET 0
) AS p ON p.ended IS NULL AND p.expires > clock_timestamp()
ORDER BY r.ordinal, p.version DESC, p.publication_id
"""
_SUBSCRIBE = (
    "SELECT * FROM subscribe_batch_v3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, "
    "$18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)"
)
_LOCK_WATCHERS = "SELECT pg_advisory_xact_lock($1, k.hash) FROM unnest($2::int4[]) AS k (hash)"
WATCHERS_LOCK = 0x7761
"""Of the advisory locks that whoever makes dialogs of a watcher holds, before any other lock."""
COUNTED_EXACTLY = 4096
"""A higher `max_subscriptions` may be exceeded by what is under way in batches at the same moment: a lock for each
watcher of every batch would be a price for all, and the limit is to keep a watcher from filling the table."""


class DecidingStore:
    """Batches of commands in, verdicts out; each call is one transaction."""

    def __init__(self, database: Database, policy: Policy, in_redis: RedisDialogs | None = None) -> None:
        """`in_redis`: where the dialogs are (`fallback2db=0`), so that who watches is not known here."""
        self._database = database
        self._policy = policy
        self._in_redis = in_redis

    async def publish(self, commands: list[PublishCommand]) -> list[PublishVerdict]:
        """Apply PUBLISH commands, each presentity at most once. Raises StoreError."""
        order = sorted(range(len(commands)), key=lambda index: commands[index].presentity)
        batch = [commands[index] for index in order]
        owners = [split_aor(command.presentity.uri) for command in batch]
        rows = await self._database.fetch(
            _PUBLISH,
            [command.presentity.hash for command in batch],
            [command.presentity.uri for command in batch],
            [user for user, _ in owners],
            [domain for _, domain in owners],
            [command.presentity.event for command in batch],
            [command.key for command in batch],
            [command.publication_id for command in batch],
            [command.sequence for command in batch],
            [command.expires for command in batch],
            [command.content_type for command in batch],
            [command.body for command in batch],
            [command.sender for command in batch],
            [command.refusal is None for command in batch],
            self._policy.max_publications,
            None if self._in_redis is None else await self._in_redis.of_senders(batch),
            LINGER,
            [None if command.call is None else command.call.key for command in batch],
            [None if command.call is None else command.call.leg for command in batch],
            [command.call is not None and command.call.over for command in batch],
            self._policy.mix_dialog_presence,
        )
        verdicts: dict[int, PublishVerdict] = {}
        for ordinal, verdict, sequence, granted, version, watched, ids, versions, at in rows:
            others = tuple(zip(ids, versions, strict=True)) if ids else ()
            verdicts[order[ordinal - 1]] = PublishVerdict(
                verdict, sequence or 0, granted or 0, at.timestamp(), version, bool(watched), others
            )
        return [verdicts[index] for index in range(len(commands))]

    async def held(self, commands: list[PublishCommand]) -> list[Held]:
        """The publications that these commands change, as far as they are there. Raises StoreError."""
        rows = await self._database.fetch(
            _HELD,
            [command.presentity.hash for command in commands],
            [command.publication_id for command in commands],
        )
        return [Held(row["publication_id"], row["sequence"], row["body"], row["content_type"]) for row in rows]

    async def spheres(self, presentities: Sequence[Presentity]) -> dict[Presentity, str | None]:
        """The sphere of each presentity, as its publications tell it now; None: undefined. Raises StoreError."""
        rows = await self._database.fetch(
            _PUBLISHED,
            [presentity.hash for presentity in presentities],
            [presentity.uri for presentity in presentities],
            [presentity.event for presentity in presentities],
        )
        published: dict[int, list[Publication]] = {}
        for ordinal, publication_id, content_type, body in rows:
            published.setdefault(ordinal, []).append(Publication(publication_id, content_type, body))
        return {
            presentity: published_sphere(presentity.uri, presentity.event, published.get(ordinal, []))
            for ordinal, presentity in enumerate(presentities, 1)
        }

    async def subscribe(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        """Apply SUBSCRIBE commands, each dialog at most once. Raises StoreError."""
        first, *others = in_turns(commands)
        if not others:
            return await self._subscribe(commands)
        verdicts = dict(zip(first, await self._subscribe([commands[index] for index in first]), strict=True))
        for turn in others:
            try:
                judged = await self._subscribe([commands[index] for index in turn])
            except StoreUnavailableError as error:
                raise StoreUndecidedError(*error.args) from error  # what came before it is done
            verdicts |= zip(turn, judged, strict=True)
        return [verdicts[index] for index in range(len(commands))]

    async def _subscribe(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        columns = [[get(command) for command in commands] for get in _SUBSCRIBE_COLUMNS]
        policy = self._policy
        rows = await self._in_order_of_watchers(
            commands,
            *columns,
            policy.cseq_offset,
            policy.expires_offset,
            policy.max_watchers,
            policy.max_subscriptions,
            timedelta(days=policy.waiting_days),
            [command.status for command in commands],
            [command.reason for command in commands],
            [command.rules for command in commands],
        )
        verdicts: dict[int, SubscribeVerdict] = {}
        for ordinal, verdict, granted, expires, revision, *kept, reason in rows:
            command = commands[ordinal - 1]
            record = None
            if verdict == "created":
                record = _record(command, expires, 1, _kept_of(command), command.reason)
            elif verdict in _SHOWN_ONCE:
                record = _record(command, expires, 1, _kept_of(command), "timeout")
            elif verdict in _CHANGED:
                record = _record(command, expires, revision, _Kept._make(kept), reason)
            verdicts[ordinal - 1] = SubscribeVerdict(verdict, granted or 0, record)
        return [verdicts[index] for index in range(len(commands))]

    async def _in_order_of_watchers(
        self, commands: Sequence[SubscribeCommand], *arguments: object
    ) -> list[asyncpg.Record]:
        """The rows of `_SUBSCRIBE`.

        Batches that make dialogs of one watcher lock different presentities, and would not count each other's: where
        there is a limit, they go one after the other.
        """
        hashes = new_watchers(commands) if 0 < self._policy.max_subscriptions <= COUNTED_EXACTLY else []
        if not hashes:
            return await self._database.fetch(_SUBSCRIBE, *arguments)

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> list[asyncpg.Record]:
            await connection.fetch(_LOCK_WATCHERS, WATCHERS_LOCK, hashes)
            return await connection.fetch(_SUBSCRIBE, *arguments)

        return await self._database.transact(work)


_SHOWN_ONCE = frozenset({"fetched", "waited"})
_CHANGED = frozenset({"refreshed", "ended"})


class _Kept(NamedTuple):
    """What a dialog keeps of the SUBSCRIBE that made it, in the order of `subscribe_batch_v3`."""

    presentity_uri: str
    event: str
    event_id: str
    to_value: str
    from_value: str
    record_route: str
    watcher_username: str
    watcher_domain: str


def _kept_of(command: SubscribeCommand) -> _Kept:
    """Of the command of a new dialog."""
    return _Kept(
        command.presentity_uri or "",
        command.event,
        command.event_id,
        command.to_value,
        command.from_value,
        join_routes(command.record_route),
        command.watcher_username,
        command.watcher_domain,
    )


def _record(command: SubscribeCommand, expires: datetime, revision: int, kept: _Kept, reason: str) -> DialogRecord:
    """The dialog as the command has left it."""
    return DialogRecord(
        presentity_hash=command.presentity_hash,
        dialog_id=command.dialog_id,
        revision=revision,
        presentity_uri=kept.presentity_uri,
        event=kept.event,
        event_id=kept.event_id,
        call_id=command.callid,
        to_tag=command.to_tag,
        from_tag=command.from_tag,
        to_value=kept.to_value,
        from_value=kept.from_value,
        contact=command.contact,
        record_route=split_routes(kept.record_route),
        local_contact=command.local_contact,
        accept=command.accept,
        edge_instance=command.edge_instance,
        edge_address=command.edge_address,
        flow=command.flow,
        expires=expires.timestamp(),
        reason=reason,
        watcher_username=kept.watcher_username,
        watcher_domain=kept.watcher_domain,
    )


_SUBSCRIBE_COLUMNS: tuple[Callable[[SubscribeCommand], object], ...] = (
    *map(
        attrgetter,
        (
            "presentity_hash",
            "presentity_uri",
            "event",
            "event_id",
            "key",
            "dialog_id",
            "in_dialog",
            "callid",
            "to_tag",
            "from_tag",
            "cseq",
            "expires",
            "watcher_username",
            "watcher_domain",
            "to_value",
            "from_value",
            "contact",
        ),
    ),
    lambda command: join_routes(command.record_route),
    *map(
        attrgetter,
        ("local_contact", "accept", "user_agent", "sip_instance", "edge_instance", "edge_address"),
    ),
    lambda command: write_flow(command.flow),
    lambda command: command.flow.transport,
    lambda command: command.refusal is None,
    attrgetter("proved"),
)
