"""Calls to Postgres: a fixed number of connections, one call at a time on each, and a clear word on what failed."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg

CONNECT_TIMEOUT = 3.0

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

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement.

        Raises StoreUnavailableError, StoreUndecidedError or PoisonedError.
        """
        try:
            async with asyncio.timeout(self._call_timeout):
                slot = await self._slots.get()
        except TimeoutError:
            raise StoreUnavailableError("no free connection") from None
        try:
            return await self._fetch(slot, query, arguments)
        finally:
            self._slots.put_nowait(slot)

    async def _fetch(self, slot: "_Slot", query: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
        connection = slot.connection
        if connection is None or connection.is_closed():
            connection = slot.connection = await self.connect()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments, timeout=self._call_timeout)
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
        return rows

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


class _Slot:
    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: asyncpg.Connection[Any] | None = None

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None
