"""Forgetting in time what REST has written for itself: the audit log, and answers to requests with a key."""

import asyncio
from datetime import timedelta

import structlog

from presence_core.adapters.rest.idempotency import forget_old_answers
from vedette.store import audit
from vedette.store.database import Database, StoreError

INTERVAL = 600.0
BATCH = 1000

log = structlog.get_logger()


async def forget_now(database: Database, days: int) -> int:
    """Forget what is old; how many rows. `days` of the audit log are kept; 0: all. Raises StoreError."""
    forgotten = 0
    while count := await forget_old_answers(database, BATCH):
        forgotten += count
    while days and (count := await audit.forget_older_than(database, timedelta(days=days), BATCH)):
        forgotten += count
    return forgotten


async def forget_for_ever(database: Database, days: int) -> None:
    """Forget what is old, every INTERVAL."""
    while True:
        try:
            forgotten = await forget_now(database, days)
        except StoreError as error:
            log.warning("cannot forget what is old", reason=str(error))
        else:
            if forgotten:
                log.info("forgotten", rows=forgotten)
        await asyncio.sleep(INTERVAL)
