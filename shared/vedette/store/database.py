"""Calls to Postgres: a fixed number of connections, one call at a time on each, and a clear word on what failed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import asyncpg

from vedette.counting import Distribution, Tally

CONNECT_TIMEOUT = 3.0

Answer = TypeVar("Answer")

_UNDECIDED = (
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.IdleSessionTimeoutError,
)
_CULPRIT = (
    asyncpg.exceptions.DataError,
    asyncpg.exceptions.IntegrityConstraintViolationError,
    asyncpg.exceptions.ProgramLimitExceededError,
)


class StoreError(Exception):
    """A call to the store that failed."""


class StoreUnavailableError(StoreError):
    """The call surely had no effect: no connection, or Postgres refused or rolled back."""


class StoreUndecidedError(StoreError):
    """The connection broke, or time ran out, while the call was under way: it may have been committed."""


class PoisonedError(StoreError):
    """Postgres cannot take these values; surely no effect, and no use in trying again."""


class Database:
    """A small pool. Calls wait for a free connection; connections are opened when needed and after they broke."""

    def __init__(self, dsn: str, *, size: int, name: str, call_timeout: float = 5.0) -> None:
        """`name` shows in pg_stat_activity; `call_timeout` in seconds.

        Postgres itself gives up a statement a second earlier, so that a call that takes too long has a known end.
        """
        self._dsn = dsn
        self._call_timeout = call_timeout
        self._settings = {
            "application_name": name,
            "statement_timeout": str(int((call_timeout - 1) * 1000)),
            "jit": "off",
            "timezone": "UTC",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        }
        self._slots: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()
        self._all = [_Slot() for _ in range(size)]
        for slot in self._all:
            self._slots.put_nowait(slot)
        self.available = True
        """Whether the last call reached Postgres."""
        self.waits = Distribution()
        """Seconds that a call waited for a free connection."""
        self.calls = Distribution()
        """Seconds from then until its answer."""
        self.failures = Tally({(kind,): 0 for kind in ("unavailable", "undecided", "poisoned")})
        """Calls that failed, by what that means (see the errors)."""

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement.

        Raises StoreUnavailableError, StoreUndecidedError or PoisonedError.
        """
        async with self._slot() as slot:
            connection = await self._connected(slot)
            with self._told(slot):
                rows: list[asyncpg.Record] = await connection.fetch(query, *arguments, timeout=self._call_timeout)
            return rows

    async def transact(self, work: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[Answer]]") -> Answer:
        """What the work returns, after a commit; an exception of its own rolls back. Raises as `fetch` does."""
        async with self._slot() as slot:
            connection = await self._connected(slot)
            with self._told(slot):
                async with asyncio.timeout(self._call_timeout), connection.transaction():
                    return await work(connection)
        raise AssertionError

    @contextlib.asynccontextmanager
    async def _slot(self) -> "AsyncIterator[_Slot]":
        begun = time.monotonic()
        try:
            slot = self._slots.get_nowait()
        except asyncio.QueueEmpty:
            slot = await self._wait_for_slot()
        taken = time.monotonic()
        self.waits.add(taken - begun)
        try:
            yield slot
        except StoreError as error:
            self.failures.add(_kind(error))
            raise
        finally:
            self.calls.add(time.monotonic() - taken)
            self._slots.put_nowait(slot)

    async def _wait_for_slot(self) -> "_Slot":
        try:
            async with asyncio.timeout(self._call_timeout):
                return await self._slots.get()
        except TimeoutError:
            self.failures.add("unavailable")
            raise StoreUnavailableError("no free connection") from None

    async def _connected(self, slot: "_Slot") -> "asyncpg.Connection[asyncpg.Record]":
        if slot.connection is None or slot.connection.is_closed():
            slot.connection = await self.connect()
        return slot.connection

    @contextlib.contextmanager
    def _told(self, slot: "_Slot") -> Iterator[None]:
        """Says of what fails inside whether it had an effect; a connection in doubt is given up."""
        try:
            yield
        except _CULPRIT as error:
            raise PoisonedError(str(error)) from error
        except _UNDECIDED as error:
            slot.drop()
            self.available = False
            raise StoreUndecidedError(str(error)) from error
        except asyncpg.PostgresConnectionError as error:
            slot.drop()
            self.available = False
            raise StoreUndecidedError(str(error)) from error
        except asyncpg.PostgresError as error:
            raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # InternalClientError: Postgres ended the connection while the call was on its way out
            slot.drop()
            self.available = False
            raise StoreUndecidedError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            slot.drop()
            raise
        self.available = True

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of its own, not of the pool; StoreUnavailableError where there is none to be had."""
        try:
            return await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT, server_settings=self._settings)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.available = False
            raise StoreUnavailableError(f"cannot connect to Postgres: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        for slot in self._all:
            if slot.connection is not None:
                with contextlib.suppress(Exception):
                    await slot.connection.close(timeout=1)


def _kind(error: StoreError) -> str:
    if isinstance(error, PoisonedError):
        return "poisoned"
    return "undecided" if isinstance(error, StoreUndecidedError) else "unavailable"


class _Slot:
    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: asyncpg.Connection[Any] | None = None

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None
