"""Telling the cache and the notifiers after a commit, in the background and in batches."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from vedette.spacing import Spacing
from vedette.store.bell import ringing
from vedette.store.hash_tables import Entry, HashTable
from vedette.store.news import write_news
from vedette.store.redis_link import RedisAwayError, RedisLink

MAX_WAITING = 20_000
GATHER = 0.05
"""Seconds after a call to Redis in which what nobody is to be woken for waits for more: a call costs the core as much
as the rest of a PUBLISH that comes alone."""
SPACE, ENOUGH = 0.004, 50
"""Seconds between two calls of which the first wrote fewer entries than that: a notifier leaves as much space between
its claims."""


class RedisAnnouncer:
    """Collects what is to be told and tells it all in one go; run `tell` as a task.

    What does not fit, or comes while Redis is away, is dropped: the cache misses an entry, the notifiers poll.
    """

    def __init__(self, link: RedisLink, published: HashTable, dialogs: HashTable | None) -> None:
        """`dialogs` None: there is no cache of dialogs."""
        self._link = link
        self._tables = (published, dialogs)
        self._waiting: tuple[list[Entry], list[Entry]] = ([], [])
        self._something = asyncio.Event()
        self._wake = asyncio.Event()
        self._spacing = Spacing(SPACE, ENOUGH)
        self.dropped = 0

    def announce(self, *, published: Sequence[Entry] = (), dialogs: Sequence[Entry] = (), wake: bool = False) -> None:
        """Write these cache entries, with `wake` at once, and then ring the bell, too."""
        for waiting, entries in zip(self._waiting, (published, dialogs), strict=True):
            if len(waiting) + len(entries) <= MAX_WAITING:
                waiting.extend(entries)
            else:
                self.dropped += len(entries)
        self._something.set()
        if wake:
            self._wake.set()

    async def tell(self) -> None:
        """Tell what is waiting, for ever."""
        while True:
            await self._something.wait()
            if delay := self._spacing.delay(time.monotonic()):
                await asyncio.sleep(delay)
            self._spacing.begun(time.monotonic(), sum(map(len, self._waiting)))
            await self.tell_now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._wake.wait()

    async def tell_now(self) -> None:
        """Tell what is waiting."""
        waiting, self._waiting = self._waiting, ([], [])
        wake = self._wake.is_set()
        self._something.clear()
        self._wake.clear()
        try:
            written = [() if table is None else entries for table, entries in zip(self._tables, waiting, strict=True)]
            calls = [
                call
                for table, entries in zip(self._tables, written, strict=True)
                if entries and table is not None
                for call in table.writes(entries)
            ]
            if wake:
                published, dialogs = written
                calls.append(ringing(write_news(self._link.database, published, dialogs)))
            if calls:
                await self._link.run_scripts(calls)
        except RedisAwayError:
            self.dropped += sum(map(len, waiting))
