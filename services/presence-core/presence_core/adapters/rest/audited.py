"""Changes with their entries in the audit log."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import asyncpg

from presence_core.adapters.rest.access import Caller
from presence_core.adapters.rest.problems import RestError
from vedette.store import audit
from vedette.store.audit import AuditEntry
from vedette.store.database import Database

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Answer = TypeVar("Answer")


def entry(
    caller: Caller, operation: str, target: str, *, domain: str | None, detail: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Who does what to whom; `domain` None: it concerns the whole system."""
    return AuditEntry(caller.name, caller.source, operation, target, domain, detail or {}, caller.token_id)


async def in_transaction(
    database: Database,
    found: AuditEntry,
    work: Callable[[Connection], Awaitable[Answer | None]],
    *,
    status: int = 200,
) -> Answer | None:
    """What the work returns, and the entry in the same transaction; None, and no entry, where it changes nothing.

    Raises StoreError.
    """

    async def both(connection: Connection) -> Answer | None:
        answer = await work(connection)
        if answer is not None:
            await audit.write(connection, found, status)
        return answer

    return await database.transact(both)


async def elsewhere(database: Database, found: AuditEntry, work: Callable[[], Awaitable[Answer]]) -> Answer:
    """What the work returns, which is done in another place: the entry is there before it, its status after it.

    Raises StoreError, and what the work raises.
    """
    number = await audit.begin(database, found)
    try:
        answer = await work()
    except RestError as error:
        if error.problem.status < 500:
            await audit.end(database, number, error.problem.status)
        raise
    await audit.end(database, number, 200)
    return answer
