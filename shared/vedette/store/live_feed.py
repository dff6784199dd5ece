"""What happened, told through Redis pub/sub while somebody listens, with numbers that show what was missed.

Listeners repeat their wish each second, as a message and as a key for processes that come later. Each process answers
with the number of its last batch: what was lost on the way shows at once or within a second.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import msgspec
from redis.exceptions import RedisError

from vedette.live import LiveBatch, LiveEvent
from vedette.store.redis_link import RedisAwayError, RedisLink

EVENTS = "vedette:1:live"
WISH = "vedette:1:live:wish"
WISH_INTERVAL = 1.0
WISH_SECONDS = 5.0
"""How long a wish counts."""
MAX_BATCH = 500
MAX_WAITING = 20_000
"""Events; what does not fit is dropped, and its number is missing."""
AGAIN = 0.5

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LiveBatch).decode


class LiveFeed:
    """The side of a process that does things; run `run` as a task. A `vedette.live.Teller`."""

    def __init__(
        self, link: RedisLink, instance: str, service: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._instance = instance
        self._service = service
        self._clock = clock
        self._until = float("-inf")
        self._number = 0
        self._waiting: list[LiveEvent] = []
        self._something = asyncio.Event()
        self._answer = False
        self.dropped = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        return self._clock() < self._until

    def tell(self, events: Sequence[LiveEvent]) -> None:
        """These things happened, in this order."""
        if len(self._waiting) + len(events) > MAX_WAITING:
            self.dropped += len(events)
            self.missed()
            return
        self._waiting.extend(events)
        self._something.set()

    def missed(self) -> None:
        """Something happened that cannot be told: a number is left out."""
        self._number += 1

    async def run(self) -> None:
        """Hear who listens, and send what happened, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.listen())
            group.create_task(self.send())

    async def listen(self) -> None:
        """Hear who listens, for ever."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._listen_once()
            await asyncio.sleep(AGAIN)

    async def _listen_once(self) -> None:
        async with self._link.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(WISH)
            if await self._link.client.get(WISH) is not None:
                self._wish()
            while True:
                message = await subscription.get_message(timeout=1)
                if message is None:
                    await subscription.ping()  # finds out a connection that is dead and says nothing
                elif message["type"] == "message":
                    self._wish()

    def _wish(self) -> None:
        self._until = self._clock() + WISH_SECONDS
        self._answer = True
        self._something.set()

    async def send(self) -> None:
        """Send what happened, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self._send_all()

    async def _send_all(self) -> None:
        while self._waiting:
            events, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            self._number += 1
            self._answer = False
            await self._publish(LiveBatch(self._instance, self._service, self._number, events))
        if self._answer:
            self._answer = False
            await self._publish(LiveBatch(self._instance, self._service, self._number))

    async def leave(self) -> None:
        """Send what is left, and that nothing more comes."""
        if self.wanted:
            await self._send_all()
            await self._publish(LiveBatch(self._instance, self._service, self._number, leaving=True))

    async def _publish(self, batch: LiveBatch) -> None:
        data = _encode(batch)
        with contextlib.suppress(RedisAwayError):  # its number is missing then
            await self._link.run(lambda: self._link.client.publish(EVENTS, data))


class LiveListener:
    """The side that listens; run `run` as a task."""

    def __init__(
        self,
        link: RedisLink,
        *,
        wanted: Callable[[], bool],
        heard: Callable[[LiveBatch], None],
        lost: Callable[[], None],
    ) -> None:
        """`wanted`: whether to listen; `lost`: told when what is sent cannot be heard any more."""
        self._link = link
        self._wanted = wanted
        self._heard = heard
        self._lost = lost
        self.connected = False

    async def run(self) -> None:
        """Wish and listen, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.wish())
            group.create_task(self.listen())

    async def listen(self) -> None:
        """Call `heard` for every batch, for ever; subscribe again after Redis was away."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._listen_once()
            if self.connected:
                self.connected = False
                self._lost()
            await asyncio.sleep(AGAIN)

    async def _listen_once(self) -> None:
        async with self._link.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(EVENTS)
            self.connected = True
            await self.wish_now()
            while True:
                message = await subscription.get_message(timeout=1)
                if message is None:
                    await subscription.ping()
                elif message["type"] == "message" and self._wanted():
                    with contextlib.suppress(msgspec.MsgspecError):
                        self._heard(_decode(message["data"]))

    async def wish(self) -> None:
        """Have all processes tell what they do while it is wanted, for ever."""
        while True:
            await self.wish_now()
            await asyncio.sleep(WISH_INTERVAL)

    async def wish_now(self) -> None:
        """The same, once; where Redis is away nothing is heard."""
        if not self._wanted():
            return
        with contextlib.suppress(RedisAwayError):
            await self._link.run(self._send_wish)

    async def _send_wish(self) -> None:
        await self._link.client.set(WISH, b"1", px=int(WISH_SECONDS * 1000))
        await self._link.client.publish(WISH, b"")
