"""Where live events come from: all processes, through Redis; and how it is known whether all are heard."""

import asyncio
import time

from presence_core.adapters.live_hub import Gap, LiveHub, text
from vedette.store.database import Database, StoreError
from vedette.store.live_feed import LiveListener
from vedette.store.redis_link import RedisLink
from vedette.store.replicas import seen_within

FRESH = 5.0
PATIENCE = 2.0
"""Seconds that the first reader waits until all processes tell what they do."""
INTERVAL = 0.5
TELLING = frozenset({"presence-core", "notifier"})


class LiveSource:
    """Run `run` as a task."""

    def __init__(self, hub: LiveHub, link: RedisLink, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._lost_at: float | None = None
        self._listener = LiveListener(link, wanted=lambda: hub.wanted, heard=hub.take, lost=self._lost)

    def _lost(self) -> None:
        self._lost_at = time.time()
        self._hub.lost()

    @property
    def connected(self) -> bool:
        """Whether anything can be heard."""
        return self._listener.connected

    async def begin(self) -> tuple[Gap, str] | None:
        """Return when every process tells what it does, or why it is not known whether all do."""
        self._hub.want()
        if not self._listener.connected:
            self._lost_at = self._lost_at or time.time()
            return Gap.REDIS, "there is no connection to Redis: nothing is told until it is back"
        silent = await self._silent()
        return (Gap.SILENT, f"nothing is heard of {', '.join(sorted(silent))}") if silent else None

    async def _silent(self) -> set[str]:
        """The processes that have been alive and do not answer."""
        try:
            rows = await seen_within(self._database, FRESH)
        except StoreError:
            rows = []
        expected = {row["instance"] for row in rows if row["service"] in TELLING and row["ready"]}
        await self._listener.wish_now()
        return await self._hub.heard_from(expected, PATIENCE)

    async def run(self) -> None:
        """Listen, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run())
            group.create_task(self.watch())

    async def watch(self) -> None:
        """Miss those who have fallen silent, and tell when all are heard again, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            if not self._listener.connected:
                continue
            if self._lost_at is not None and self._hub.wanted:
                await self._silent()
                self._hub.gap(
                    Gap.REDIS, "what happens is told again", since=text(self._lost_at), until=text(time.time())
                )
            self._lost_at = None
            self._hub.watch()
