"""What the operations work with."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from pydantic import BaseModel

from presence_core.adapters.live_hub import Gap, LiveHub
from presence_core.adapters.rest.names import aor_of
from presence_core.adapters.rest.replica_calls import ReplicaCalls
from vedette.live import Teller
from vedette.rpc.contract import Call, Reply, Report
from vedette.rules.ruling import Defaults
from vedette.runtime.dialogs import DialogsInRedis
from vedette.store.bell import ring
from vedette.store.database import Database, StoreError
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisAwayError, RedisLink

FLUSH_PATIENCE = 2.0
"""Seconds that an answer waits for dialogs in Redis to be written to Postgres."""

log = structlog.get_logger()


class Readiness(BaseModel):
    """Whether the whole set works, and what does not."""

    ready: bool
    checks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Live:
    """Where readers of live events join."""

    hub: LiveHub
    begin: Callable[[], Awaitable[tuple[Gap, str] | None]]
    """Returns when all processes tell what they do, or why they may not."""
    teller: Teller
    """What this process does."""


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """What webhooks may be."""

    private: bool
    """Whether they may lead into private networks."""
    max_waiting: int
    """Deliveries that may wait for each; the oldest beyond that are dead letters."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Handed to every module of a resource."""

    database: Database
    readiness: Callable[[], Awaitable[Readiness]]
    ask_core: Callable[[Call], Awaitable[Reply]]
    """What a core replies to a request; status UNKNOWN where nobody knows."""
    replica_calls: ReplicaCalls
    link: RedisLink
    published: HashTable
    cached_dialogs: HashTable
    """Without a meaning where `dialogs` are there."""
    own_report: Callable[[], tuple[str, Report]]
    """Instance and report of this process."""
    defaults: Defaults
    """What the operator has set about watchers."""
    live: Live
    webhooks: WebhookRules
    dialogs: DialogsInRedis | None = None
    """Where they are if not in Postgres (`fallback2db=0`)."""
    fold_case: bool = False
    """`sip_uri_match=1`"""
    mixes_calls: bool = False
    """`mix_dialog_presence=1`"""

    def aor_of(self, uri: str, where: str) -> str:
        """The address-of-record that a text means; RestError 422 where it is none. `where`: where it stands."""
        return aor_of(uri, where, fold_case=self.fold_case)

    async def ring(self) -> None:
        """Tell the notifiers that something is due; where Redis is away they find it within a second."""
        with contextlib.suppress(RedisAwayError):
            await ring(self.link)

    async def know_dialogs(self) -> bool:
        """Have Postgres know the dialogs as they are; False where it has them as of the last flush only."""
        if self.dialogs is None:
            return True
        try:
            async with asyncio.timeout(FLUSH_PATIENCE):
                await self.dialogs.keeper.flush(patience=FLUSH_PATIENCE)
        except (StoreError, TimeoutError) as error:
            log.info("dialogs are shown as of the last flush", reason=f"{type(error).__name__}: {error}")
            return False
        return True
