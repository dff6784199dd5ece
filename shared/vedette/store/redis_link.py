"""One client to Redis that gives up at once while Redis is away, so that nobody waits for a cache.

Scripts go over connections of their own: what the client does for each call, whatever it is (have a connection lent
and looked at, watch it with a task), takes as long as all the rest of it.
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnectedError
from redis.exceptions import NoScriptError, RedisError, ResponseError

TIMEOUT = 0.5
PAUSE = 1.0

MAX_IDLE = 16
"""Connections for scripts that are kept while nobody uses them."""

Answer = TypeVar("Answer")
Command = Sequence[str | bytes | int]


class Script:
    """A script and the hash that Redis knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class ScriptCall(NamedTuple):
    """One call of a script that may be repeated."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | bytes | int]


class RedisAwayError(Exception):
    """Redis did not answer, or is known to be away; nothing depends on it."""


class RedisLink:
    """`run` calls Redis, or fails at once for PAUSE seconds after a failure."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """`timeout`: seconds that an answer may take, or all those to scripts that go out together."""
        self.client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._timeout = timeout
        self._away_until = 0.0
        self._idle: list[AbstractConnection] = []
        """Connections for scripts that nobody uses."""
        self._closed = False

    @property
    def database(self) -> int:
        """The number of the database: what keys are apart by, and channels are not."""
        return int(self.client.connection_pool.connection_kwargs.get("db") or 0)

    @property
    def available(self) -> bool:
        """Whether the last call was answered, or it is time to try again."""
        return time.monotonic() >= self._away_until

    async def run(self, command: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to a command; RedisAwayError where there is none."""
        if not self.available:
            raise RedisAwayError
        try:
            return await command()
        except (RedisError, OSError, TimeoutError) as error:
            self.lost()
            raise RedisAwayError(f"{type(error).__name__}: {error}") from error

    async def run_scripts(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The answers to the calls, which go out together and are carried out in order, or RedisAwayError.

        A Redis that was restarted is taught the scripts again, and then carries out all of them again.
        """
        commands = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls]

        async def attempt() -> list[Any]:
            answers = await self._send(commands)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                texts = {call.script.text for call in calls}
                answers = (await self._send([*(("SCRIPT", "LOAD", text) for text in texts), *commands]))[len(texts) :]
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
            return answers

        try:
            return await self.run(attempt)
        except RedisAwayError:
            await self._close_idle()  # they lead to where there was no answer
            raise

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that may be repeated, of which each may be a ResponseError."""
        while self._idle:
            with contextlib.suppress(NotConnectedError):  # Redis has ended it since it was used last
                return await self._exchange(self._idle.pop(), commands)
        pool = self.client.connection_pool
        # One time limit for the whole exchange instead of one for each step, which redis-py keeps with a task.
        connection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
        return await self._exchange(connection, commands)

    async def _exchange(self, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        try:
            if not connection.is_connected:
                async with asyncio.timeout(TIMEOUT):
                    await connection.connect()  # type: ignore[no-untyped-call]
            async with asyncio.timeout(self._timeout):
                try:
                    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                except RuntimeError as error:  # what uvloop says of a connection that was reset
                    raise NotConnectedError(str(error)) from error
                for _ in commands:
                    try:
                        answers.append(await connection.read_response(timeout=math.inf))
                    except ResponseError as error:
                        answers.append(error)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if self._closed or len(self._idle) >= MAX_IDLE:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return answers

    async def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(RedisError, OSError):
                await self._idle.pop().disconnect(nowait=True)

    def lost(self) -> None:
        """A call has failed: nobody else tries for PAUSE seconds."""
        self._away_until = time.monotonic() + PAUSE

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._close_idle()
        await self.client.aclose()
