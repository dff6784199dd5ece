"""One client to Redis that gives up at once while Redis is away, so that nobody waits for a cache."""

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

TIMEOUT = 0.5
PAUSE = 1.0

Answer = TypeVar("Answer")


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
        """`timeout`: seconds that an answer may take."""
        self.client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._away_until = 0.0

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

        async def attempt() -> list[Any]:
            try:
                return await self._send(calls)
            except NoScriptError:
                for script in {call.script for call in calls}:
                    await self.client.script_load(script.text)
                return await self._send(calls)

        return await self.run(attempt)

    async def _send(self, calls: Sequence[ScriptCall]) -> list[Any]:
        if len(calls) == 1:  # for which a pipeline costs more
            script, keys, arguments = calls[0]
            return [await self.client.evalsha(script.sha, len(keys), *keys, *arguments)]
        async with self.client.pipeline(transaction=False) as pipeline:
            for script, keys, arguments in calls:
                pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            return await pipeline.execute()

    def lost(self) -> None:
        """A call has failed: nobody else tries for PAUSE seconds."""
        self._away_until = time.monotonic() + PAUSE

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
