"""Wake-ups through Redis pub/sub: only a hint, everybody who waits for one also polls.

A claim costs nearly the same for one NOTIFY as for ten, so a ring is for one notifier where one is enough: the one on
duty. One comes on duty for two seconds when it found something to do, having been rung with all others, which is done
where nobody is on duty or the one who is does not listen any more. So that nobody waits for one that listens and does
nothing, each ring is followed by a look of the others a moment later; they are told of it once in 0.4 seconds.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from redis.exceptions import RedisError, ResponseError

from vedette.store.redis_link import RedisAwayError, RedisLink, Script, ScriptCall

CHANNEL = "vedette:1:wake"
"""All notifiers; `CHANNEL:` and an instance is one of them."""
LATER_CHANNEL = "vedette:1:wake-later"
ON_DUTY = "vedette:1:{bell}:duty"
_TOLD = "vedette:1:{bell}:told"
DUTY = 2.0
"""Seconds for which a notifier is on duty."""
TOLD = 0.4
"""Seconds between two words to the others."""
LATER = TOLD + 0.05
"""Seconds after which they look: then it covers the rings that they were not told of."""
PLENTY = 200
"""A claim that found so much is a reason for the others to come at once."""

# Redis may be full, or have something else under these names: then all are rung.
_RING = Script(
    """
local one = redis.pcall('GET', KEYS[1])
if type(one) == 'string' and redis.call('PUBLISH', ARGV[1] .. ':' .. one, ARGV[4]) > 0 then
    local first = redis.pcall('SET', KEYS[2], '', 'NX', 'PX', ARGV[3])
    if first and first.ok then
        redis.call('PUBLISH', ARGV[2], '')
    end
else
    redis.call('PUBLISH', ARGV[1], ARGV[4])
end
"""
)


def ringing(news: bytes = b"") -> ScriptCall:
    """The call that tells the notifiers that there is a change event, and what is written about it."""
    return ScriptCall(_RING, [ON_DUTY, _TOLD], [CHANNEL, LATER_CHANNEL, int(TOLD * 1000), news])


async def ring(link: RedisLink) -> None:
    """Tell the notifiers that there is a change event. Raises RedisAwayError."""
    await link.run_scripts([ringing()])


class BellListener:
    """Run `listen` as a task; `connected` says whether wake-ups can be heard."""

    def __init__(
        self,
        link: RedisLink,
        instance: str,
        heard: Callable[[], None],
        news: Callable[[bytes], None] = lambda _news: None,
    ) -> None:
        """`heard` is called for each wake-up, after `news` with what it carries, if that is something."""
        self._link = link
        self._instance = instance
        self._heard = heard
        self._news = news
        self._all_were_rung = False
        self._calls: set[asyncio.Task[None]] = set()
        self.connected = False

    async def listen(self) -> None:
        """Call `heard` for every wake-up, for ever; subscribe again after Redis was away."""
        while True:
            try:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    await self._listen_once()
            finally:
                self.connected = False
            self._heard()
            await asyncio.sleep(0.5)

    async def _listen_once(self) -> None:
        later, everybody = LATER_CHANNEL.encode(), CHANNEL.encode()
        async with self._link.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(CHANNEL, f"{CHANNEL}:{self._instance}", LATER_CHANNEL)
            self.connected = True
            while True:
                message = await subscription.get_message(timeout=1)
                if message is None:
                    await subscription.ping()  # finds out a connection that is dead and says nothing
                elif message["type"] == "message":
                    if message["channel"] == later:
                        asyncio.get_running_loop().call_later(LATER, self._heard)
                        continue
                    self._all_were_rung |= message["channel"] == everybody
                    if message["data"]:
                        self._news(message["data"])
                    self._heard()

    def found(self, dialogs: int) -> None:
        """There was something to do, for so many dialogs: come on duty where nobody is, or call all if it is much."""
        if dialogs >= PLENTY:
            self._call(self._ring_all())
        elif self._all_were_rung:
            self._call(self._come_on_duty())
        self._all_were_rung = False

    def _call(self, call: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _come_on_duty(self) -> None:
        async def command() -> None:
            with contextlib.suppress(ResponseError):  # it is full, which is no reason not to read
                await self._link.client.set(ON_DUTY, self._instance, px=int(DUTY * 1000), nx=True)

        with contextlib.suppress(RedisAwayError):
            await self._link.run(command)

    async def _ring_all(self) -> None:
        with contextlib.suppress(RedisAwayError):
            await self._link.run(lambda: self._link.client.publish(CHANNEL, b""))
