"""The two database calls that decide, and the queries behind REST."""

from collections.abc import Callable
from datetime import timedelta
from operator import attrgetter

from presence_core.adapters.redis_dialogs import RedisDialogs
from presence_core.domain.policy import Policy
from presence_core.domain.publish import LINGER, PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from presence_core.domain.succession import Held
from vedette.records import DialogRecord, join_routes, split_routes, write_flow
from vedette.sip.uri import split_aor
from vedette.store.database import Database

_PUBLISH = (
    "SELECT * FROM publish_batch_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, "
    "$19, $20)"
)
_HELD = """
SELECT p.publication_id, p.sequence, p.body, p.content_type
FROM unnest($1::int4[], $2::bytea[]) AS k (presentity_hash, publication_id)
JOIN presentity AS p USING (presentity_hash, publication_id)
"""
_SUBSCRIBE = (
    "SELECT * FROM subscribe_batch_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, "
    "$18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)"
)


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

    async def subscribe(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        """Apply SUBSCRIBE commands, each dialog at most once. Raises StoreError."""
        columns = [[get(command) for command in commands] for get in _SUBSCRIBE_COLUMNS]
        policy = self._policy
        rows = await self._database.fetch(
            _SUBSCRIBE,
            *columns,
            policy.cseq_offset,
            policy.expires_offset,
            policy.max_watchers,
            policy.max_subscriptions,
            timedelta(days=policy.waiting_days),
        )
        verdicts: dict[int, SubscribeVerdict] = {}
        for row in rows:
            index = row["ordinal"] - 1
            command = commands[index]
            record = None
            if row["verdict"] in _WRITTEN:
                record = DialogRecord(
                    presentity_hash=command.presentity_hash,
                    dialog_id=command.dialog_id,
                    revision=row["revision"],
                    presentity_uri=row["presentity_uri"],
                    event=row["event"],
                    event_id=row["event_id"],
                    call_id=command.callid,
                    to_tag=command.to_tag,
                    from_tag=command.from_tag,
                    to_value=row["to_uri"],
                    from_value=row["from_uri"],
                    contact=command.contact,
                    record_route=split_routes(row["record_route"]),
                    local_contact=command.local_contact,
                    accept=command.accept,
                    edge_instance=command.edge_instance,
                    edge_address=command.edge_address,
                    flow=command.flow,
                    expires=row["expires"].timestamp(),
                    reason=row["reason"],
                )
            verdicts[index] = SubscribeVerdict(row["verdict"], row["granted"] or 0, record)
        return [verdicts[index] for index in range(len(commands))]


_WRITTEN = frozenset({"created", "fetched", "refreshed", "ended"})

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
