"""Telling the cache and the notifiers after a commit, in the background and in batches."""

import asyncio
from collections.abc import Sequence

from vedette.store.bell import ring
from vedette.store.hash_tables import Entry, HashTable
from vedette.store.redis_link import RedisAwayError, RedisLink

MAX_WAITING = 20_000


class RedisAnnouncer:
    """Collects what is to be told and tells it all in one go; run `tell` as a task.

    What does not fit, or comes while Redis is away, is dropped: the cache misses an entry, the notifiers poll.
    """

    def __init__(self, link: RedisLink, published: HashTable, dialogs: HashTable | None) -> None:
        """`dialogs` None: there is no cache of dialogs."""
        self._link = link
        self._tables = (published, dialogs)
        self._waiting: tuple[list[Entry], list[Entry]] = ([], [])
        self._wake = False
        self._something = asyncio.Event()
        self.dropped = 0

    def announce(self, *, published: Sequence[Entry] = (), dialogs: Sequence[Entry] = (), wake: bool = False) -> None:
        """Write these cache entries and, with `wake`, ring the bell, as soon as possible."""
        self._wake = self._wake or wake
        for waiting, entries in zip(self._waiting, (published, dialogs), strict=True):
            if len(waiting) + len(entries) <= MAX_WAITING:
                waiting.extend(entries)
            else:
                self.dropped += len(entries)
        self._something.set()

    async def tell(self) -> None:
        """Tell what is waiting, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting = self._waiting, ([], [])
            wake, self._wake = self._wake, False
            try:
                if wake:
                    await ring(self._link)
                for table, entries in zip(self._tables, waiting, strict=True):
                    if entries and table is not None:
                        await table.put(entries)
            except RedisAwayError:
                self.dropped += sum(map(len, waiting))
