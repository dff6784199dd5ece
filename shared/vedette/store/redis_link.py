"""One client to Redis that gives up at once while Redis is away, so that nobody waits for a cache."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT = 0.5
PAUSE = 1.0

Answer = TypeVar("Answer")


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

    def lost(self) -> None:
        """A call has failed: nobody else tries for PAUSE seconds."""
        self._away_until = time.monotonic() + PAUSE

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
