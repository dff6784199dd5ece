"""Wake-ups through Redis pub/sub: only a hint, everybody who waits for one also polls."""

import asyncio
import contextlib
from collections.abc import Callable

from redis.exceptions import RedisError

from vedette.store.redis_link import RedisLink

CHANNEL = "vedette:1:wake"


async def ring(link: RedisLink) -> None:
    """Tell the notifiers that there is a change event. Raises RedisAwayError."""
    await link.run(lambda: link.client.publish(CHANNEL, b""))


class BellListener:
    """Run `listen` as a task; `connected` says whether wake-ups can be heard."""

    def __init__(self, link: RedisLink, heard: Callable[[], None]) -> None:
        self._link = link
        self._heard = heard
        self.connected = False

    async def listen(self) -> None:
        """Call `heard` for every wake-up, for ever; subscribe again after Redis was away."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._listen_once()
            self.connected = False
            self._heard()
            await asyncio.sleep(0.5)

    async def _listen_once(self) -> None:
        async with self._link.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(CHANNEL)
            self.connected = True
            while True:
                message = await subscription.get_message(timeout=1)
                if message is None:
                    await subscription.ping()  # finds out a connection that is dead and says nothing
                elif message["type"] == "message":
                    self._heard()
