"""How far nonces were used, in Redis: what one edge has taken no other one takes again.

Asked for in pipelines: whatever comes while one is under way forms the next one.
"""

import asyncio
import hashlib
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from vedette.store.redis_link import RedisAwayError, RedisLink

MAX_BATCH = 256

_TAKE = """
local held = redis.call('HMGET', KEYS[1], 'count', 'request')
local count = tonumber(ARGV[1])
if held[1] and count <= tonumber(held[1]) then
    return (count == tonumber(held[1]) and held[2] == ARGV[2]) and 1 or 0
end
redis.call('HSET', KEYS[1], 'count', ARGV[1], 'request', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_SHA = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()

_Use = tuple[str, int, bytes]


class NonceCounts:
    """`take` a use of a nonce; the rules are those of `UsedNonces`."""

    def __init__(self, link: RedisLink, lifetime: int) -> None:
        """`lifetime`: seconds that a nonce is good for."""
        self._link = link
        # Twice, since the clocks of edges may differ.
        self._keep = 2 * lifetime
        self._waiting: list[tuple[_Use, asyncio.Future[bool | None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def take(self, nonce: str, count: int, request: bytes) -> bool | None:
        """Whether this use is a new one; None where Redis does not tell."""
        if not self._link.available:
            return None
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((nonce, count, request), future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            answers: list[bool | None] = [None] * len(batch)
            try:
                answers = await self._ask([use for use, _ in batch])
            finally:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    async def _ask(self, uses: list[_Use]) -> list[bool | None]:
        try:
            results = await self._link.run(lambda: self._send(uses))
            if any(isinstance(result, NoScriptError) for result in results):
                await self._link.run(lambda: self._link.client.script_load(_TAKE))
                results = await self._link.run(lambda: self._send(uses))
        except RedisAwayError:
            return [None] * len(uses)
        return [None if isinstance(result, RedisError) else bool(result) for result in results]

    async def _send(self, uses: list[_Use]) -> list[Any]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for nonce, count, request in uses:
                pipeline.evalsha(_SHA, 1, f"vedette:nonce:{{{nonce}}}", count, request, self._keep)
            results: list[Any] = await pipeline.execute(raise_on_error=False)
            return results
