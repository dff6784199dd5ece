"""Where the dialogs are: in Postgres, or in Redis with a copy in Postgres (`fallback2db`)."""

from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from vedette.runtime.settings import StoreSettings
from vedette.store.database import Database, StoreError
from vedette.store.dialog_tables.keeper import DialogKeeper, keep_in_postgres
from vedette.store.dialog_tables.tables import DialogTables
from vedette.store.redis_link import RedisLink

TIMEOUT = 3.0
"""Seconds that an answer of Redis may take: here it is no cache that one does without."""
LAST_FLUSH = 5.0
"""Seconds that the end of a process waits for others that write their dialogs."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DialogsInRedis:
    """The tables and their copy in Postgres."""

    tables: DialogTables
    keeper: DialogKeeper
    link: RedisLink

    async def close(self) -> None:
        """Write to Postgres what it does not have yet."""
        try:
            await self.keeper.flush(patience=LAST_FLUSH)
        except StoreError as error:
            log.warning("dialogs could not be written to Postgres", reason=str(error))
        await self.keeper.close()
        await self.link.close()


async def open_dialogs(settings: StoreSettings, database: Database) -> DialogsInRedis | None:
    """The dialogs in Redis, filled from Postgres where it is empty; None where they are in Postgres (fallback2db=1).

    Without Redis they are filled when it is back. Raises StoreError where Postgres does not answer.
    """
    if settings.fallback2db:
        await keep_in_postgres(database)
        return None
    log.info(
        "fallback2db=0: dialogs are in Redis",
        copied_each=settings.db_update_period,
        unlike="nobody is kept waiting, and decisions of rules are not listed in watchers",
    )
    link = RedisLink(settings.redis_url, timeout=TIMEOUT)
    tables = DialogTables(link, settings.subs_htable_size)
    keeper = DialogKeeper(database, tables, period=settings.db_update_period)
    await keeper.open()
    try:
        await keeper.load()
    except StoreError as error:
        log.warning("dialogs are not loaded yet", reason=str(error))
    await _warn_of_eviction(link)
    return DialogsInRedis(tables, keeper, link)


async def _warn_of_eviction(link: RedisLink) -> None:
    try:
        policy = (await link.client.config_get("maxmemory-policy")).get("maxmemory-policy") or ""
    except (RedisError, OSError, TimeoutError):
        return
    if policy.startswith("allkeys"):
        log.warning("Redis may forget dialogs when its memory ends: set maxmemory-policy noeviction", policy=policy)
