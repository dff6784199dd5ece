"""Have dialogs follow clients that moved and registered anew; remove bindings that are over."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from notifier.flows.expiry import TOMBSTONE_AGE
from notifier.flows.ports import BindingStore
from vedette.store.database import StoreError
from vedette.store.redis_link import RedisAwayError

INTERVAL = 0.4
LIMIT = 500

log = structlog.get_logger()


class Following:
    """Run `run` and `sweep` as tasks."""

    def __init__(
        self,
        store: BindingStore,
        *,
        wake: Callable[[], None],
        ring: Callable[[], Awaitable[None]],
        clean_period: int,
    ) -> None:
        """`wake` wakes this notifier, `ring` the others."""
        self._store = store
        self._wake = wake
        self._ring = ring
        self._clean_period = clean_period

    async def run(self) -> None:
        """Move dialogs, for ever."""
        while True:
            moved, again = 0, False
            try:
                moved, again = await self._store.follow(LIMIT)
            except StoreError as error:
                log.warning("dialogs cannot follow", reason=str(error))
            if moved:
                log.info("dialogs follow their clients", dialogs=moved)
                self._wake()
                with contextlib.suppress(RedisAwayError):
                    await self._ring()
            if not (moved and again):
                await asyncio.sleep(INTERVAL)

    async def sweep(self) -> None:
        """Remove bindings that are over, every clean_period, for ever."""
        while True:
            await asyncio.sleep(self._clean_period)
            try:
                while await self._store.sweep_bindings(TOMBSTONE_AGE, LIMIT) >= LIMIT:
                    pass
            except StoreError as error:
                log.warning("cannot sweep bindings", reason=str(error))
