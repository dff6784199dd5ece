"""One replica of presence-core as far as it decides: the pure plan, the production adapter, the pure conclusion."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import asyncpg

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.redis_dialogs import RedisDialogStore
from notifier.domain.outcome_policy import settle
from presence_core.adapters.postgres import DecidingStore
from presence_core.adapters.redis_dialogs import RedisDialogs
from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishVerdict, conclude_publish, plan_publish
from presence_core.domain.subscribe import SubscribeVerdict, conclude_subscribe, plan_subscribe
from presence_core.domain.succession import needs_held, succeed
from presence_core.flows.judging import Judging
from tests.integration.dialogs_in_redis import DialogsInRedis
from vedette.records import DialogRecord
from vedette.rpc.contract import Outcome, PublishCall, Reply, SubscribeCall
from vedette.rules.permissions import Handling
from vedette.rules.ruling import Defaults
from vedette.store.authorization import Rulebooks
from vedette.store.database import Database
from vedette.store.dialog_tables.tables import DialogTables

POLICY = Policy(secret=b"the secret of a test cluster....")
OPEN = Defaults(default_rule=Handling.ALLOW, dialog_rule="allow")
"""Everybody may watch presence and calls, unless rules say otherwise."""


@dataclass(frozen=True)
class Answer:
    """What the database said, and what the edge is told."""

    verdict: str
    reply: Reply
    version: int | None = None
    watched: bool = False
    others: tuple[tuple[bytes, int], ...] = ()
    record: DialogRecord | None = None

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def etag(self) -> str:
        return self.header("SIP-ETag")

    @property
    def expires(self) -> int:
        return int(self.header("Expires"))

    @property
    def to_tag(self) -> str:
        return self.reply.to_tag

    @property
    def dialog_id(self) -> bytes:
        """Of the dialog that was written."""
        assert self.record is not None
        return self.record.dialog_id

    def header(self, name: str) -> str:
        (value,) = [value for key, value in self.reply.headers if key == name]
        return value


class Core:
    """`publish` and `subscribe` send one batch to the stores each."""

    def __init__(
        self,
        database: Database,
        policy: Policy = POLICY,
        in_redis: DialogTables | None = None,
        defaults: Defaults = OPEN,
    ) -> None:
        """`in_redis`: where the dialogs are; None: in Postgres. `defaults`: who may watch."""
        dialogs = None if in_redis is None else RedisDialogs(in_redis, policy)
        self.store = DecidingStore(database, policy, dialogs)
        judging = Judging(
            self.store.subscribe if dialogs is None else dialogs.subscribe,
            Rulebooks(database),
            defaults,
            spheres=self.store.spheres,
            clock=time.time,
            compares=dialogs is None,
        )
        self.judge = judging.apply
        self.policy = policy

    async def publish(self, *calls: PublishCall) -> list[Answer]:
        """The answers to a batch; every call has to get as far as the database."""
        commands = [plan_publish(call, self.policy) for call in calls]
        planned = [command for command in commands if not isinstance(command, Reply)]
        assert len(planned) == len(commands), commands
        wanted = needs_held(planned)
        held = {item.publication_id: item for item in await self.store.held(wanted)} if wanted else {}
        planned = [succeed(command, held.get(command.publication_id), self.policy) for command in planned]
        verdicts: Sequence[PublishVerdict] = await self.store.publish(planned)
        return [
            Answer(v.verdict, conclude_publish(command, v, self.policy), v.version, v.watched, v.others)
            for command, v in zip(planned, verdicts, strict=True)
        ]

    async def subscribe(self, *calls: SubscribeCall) -> list[Answer]:
        """The answers to a batch; every call has to get as far as the database."""
        commands = [plan_subscribe(call, self.policy) for call in calls]
        planned = [command for command in commands if not isinstance(command, Reply)]
        assert len(planned) == len(commands), commands
        verdicts: Sequence[SubscribeVerdict] = await self.judge(planned)
        return [
            Answer(v.verdict, conclude_subscribe(command, v, self.policy), record=v.record)
            for command, v in zip(planned, verdicts, strict=True)
        ]

    async def publish_one(self, call: PublishCall) -> Answer:
        """The answer to a batch of one."""
        (answer,) = await self.publish(call)
        return answer

    async def subscribe_one(self, call: SubscribeCall) -> Answer:
        """The answer to a batch of one."""
        (answer,) = await self.subscribe(call)
        return answer


DialogStore: TypeAlias = NotifierStore | RedisDialogStore
"""What a notifier does with dialogs, wherever they are."""


class MakeCore(Protocol):
    """Makes replicas of presence-core."""

    def __call__(self, policy: Policy, own: Database | None = None, defaults: Defaults = OPEN) -> Core:
        """One with this policy, on the shared connections or its own; `defaults`: who may watch."""


class MakeNotifier(Protocol):
    """Makes what a notifier does with dialogs."""

    def __call__(self, name: str, own: Database | None = None, *, mixes_calls: bool = False) -> DialogStore:
        """One of this name, on the shared connections or its own; `mixes_calls`: `mix_dialog_presence=1`."""


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Sql(Protocol):
    """What tests that hold for dialogs in Postgres and in Redis ask a connection to Postgres."""

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows."""

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row."""

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first value of the first row."""

    async def execute(self, query: str, *arguments: object) -> str:
        """Change something."""


class SqlOfRedis:
    """Postgres knows the dialogs as Redis has them before it is asked, and Redis what was changed."""

    def __init__(self, plain: Connection, in_redis: DialogsInRedis) -> None:
        self._plain = plain
        self._in_redis = in_redis

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows."""
        await self._in_redis.flush()
        return await self._plain.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row."""
        await self._in_redis.flush()
        return await self._plain.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first value of the first row."""
        await self._in_redis.flush()
        return await self._plain.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        """Change something, in Redis as well."""
        await self._in_redis.flush()
        done: str = await self._plain.execute(query, *arguments)
        await self._in_redis.take_over(self._plain)
        return done


async def let_publications_expire(sql: Sql, uri: str) -> None:
    """As if the lifetime of the presentity's publications had passed a second ago."""
    await sql.execute(
        "UPDATE presentity SET expires = clock_timestamp() - interval '1 s' WHERE presentity_uri = $1", uri
    )


async def let_dialogs_expire(sql: Sql, uri: str) -> None:
    """As if the lifetime of the presentity's dialogs had passed a second ago."""
    await sql.execute(
        "UPDATE active_watchers SET expires = clock_timestamp() - interval '1 s' WHERE presentity_uri = $1", uri
    )


async def let_marks_run_out(sql: Sql) -> None:
    """As if the outcomes of all NOTIFYs had been awaited for long enough."""
    await sql.execute(
        "WITH claims AS (UPDATE notify_claim SET until = clock_timestamp()) "
        "UPDATE delivery SET outstanding_until = clock_timestamp()"
    )


STATE = ("active_watchers", "delivery", "presentity", "presentity_state", "change_event")
NOTHING: list[list[tuple[object, ...]]] = [[], [], [], [], []]
"""`everything` of an empty database."""


async def everything(sql: Sql) -> list[list[tuple[object, ...]]]:
    """Every row of what requests change, to see that nothing changed."""
    return [[tuple(row) for row in await sql.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")] for table in STATE]


async def answer_notifies(
    store: DialogStore, status: int, only: bytes | None = None, retry_after: int | None = None
) -> set[bytes]:
    """The dialogs that are owed a NOTIFY, whose watchers answer so; with `only`, those of all others never answer."""
    claims = await store.claim(100, 100)
    await store.apply(
        [
            (Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, status), settle(status, retry_after))
            for claim in claims
            if only in {None, claim.dialog_id}
        ]
    )
    return {claim.dialog_id for claim in claims}
