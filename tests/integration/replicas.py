"""One replica of presence-core as far as it decides: the pure plan, the production adapter, the pure conclusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

from presence_core.adapters.postgres import DecidingStore
from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishVerdict, conclude_publish, plan_publish
from presence_core.domain.subscribe import SubscribeVerdict, conclude_subscribe, plan_subscribe
from vedette.records import DialogRecord
from vedette.rpc.contract import PublishCall, Reply, SubscribeCall
from vedette.store.database import Database

POLICY = Policy(secret=b"the secret of a test cluster....")


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

    def header(self, name: str) -> str:
        (value,) = [value for key, value in self.reply.headers if key == name]
        return value


class Core:
    """`publish` and `subscribe` send one batch to Postgres each."""

    def __init__(self, database: Database, policy: Policy = POLICY) -> None:
        self.store = DecidingStore(database, policy)
        self.policy = policy

    async def publish(self, *calls: PublishCall) -> list[Answer]:
        """The answers to a batch; every call has to get as far as the database."""
        commands = [plan_publish(call, self.policy) for call in calls]
        planned = [command for command in commands if not isinstance(command, Reply)]
        assert len(planned) == len(commands), commands
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
        verdicts: Sequence[SubscribeVerdict] = await self.store.subscribe(planned)
        return [
            Answer(v.verdict, conclude_subscribe(command, v), record=v.record)
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


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def let_publications_expire(sql: Connection, uri: str) -> None:
    """As if the lifetime of the presentity's publications had passed a second ago."""
    await sql.execute(
        "UPDATE presentity SET expires = clock_timestamp() - interval '1 s' WHERE presentity_uri = $1", uri
    )


async def let_dialogs_expire(sql: Connection, uri: str) -> None:
    """As if the lifetime of the presentity's dialogs had passed a second ago."""
    await sql.execute(
        "UPDATE active_watchers SET expires = clock_timestamp() - interval '1 s' WHERE presentity_uri = $1", uri
    )


async def dump(sql: Connection, table: str) -> list[tuple[object, ...]]:
    """Every row of a table, to see that nothing changed."""
    return [tuple(row) for row in await sql.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]
