"""Have Postgres count its tables anew where they have grown.

The plans of the batch functions are kept until the tables are counted again. One that was made beside a handful of
rows may read a table from end to end in each batch, which is no loss then and ruins a system that has thousands a
minute later: autovacuum looks once a minute at the soonest.
"""

import asyncio

import structlog

from vedette.store.database import Database, StoreError

INTERVAL = 1.0
TABLES = ("presentity", "presentity_state", "active_watchers", "delivery", "watchers", "watcher_rules")
LARGE = 4096
"""Pages (32 MiB) of a table that no plan takes for a small one: a larger one is left to autovacuum."""

_GROWN = """
SELECT t.name, now.pages
FROM unnest($1::text[]) AS t (name)
JOIN pg_class AS c ON c.oid = to_regclass(t.name)
CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) / current_setting('block_size')::int8 AS pages) AS now
WHERE now.pages > 2 * greatest(c.relpages, 1) AND now.pages < $2
"""

log = structlog.get_logger()


class Recount:
    """Run `run` as a task; any number of notifiers may."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pages: dict[str, int] = {}
        """How large each table was when it was to be counted last: in vain, perhaps: once a doubling is enough."""

    async def run(self) -> None:
        """Look every second, for ever."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.debug("cannot look at the sizes of tables", reason=str(error))
            await asyncio.sleep(INTERVAL)

    async def look(self) -> list[str]:
        """The tables that had more than doubled, and have been counted. Raises StoreError."""
        counted: list[str] = []
        for name, pages in await self._database.fetch(_GROWN, list(TABLES), LARGE):
            if pages > 2 * self._pages.get(name, 0):
                self._pages[name] = pages
                await self._database.fetch(f"ANALYZE {name}")
                counted.append(name)
        return counted
