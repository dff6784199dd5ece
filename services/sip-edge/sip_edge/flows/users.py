"""The secrets of users: asked of presence-core in batches, and remembered for a short time.

That there is no user of a name is remembered as well, so that unknown users cost what known ones do.
"""

import asyncio
import time
from collections import OrderedDict
from typing import NamedTuple

import msgspec
import structlog

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers
from vedette.rpc.contract import SUBSCRIBERS, UNREADABLE, Ha1s, SubscriberAnswer, SubscriberQuery

MAX_BATCH = 256
MAX_CALLS = 4
"""Calls under way at once; what comes meanwhile forms the next ones."""
MAX_REMEMBERED = 50_000
PATIENCE = 3.0
"""Seconds until whoever waits for a secret is told that there is no answer."""
RPC_TIMEOUT = 2.0
PAUSE = 0.05

log = structlog.get_logger()

Name = tuple[str, str]
"""User and realm."""


class UsersUnavailableError(Exception):
    """No presence-core has told the secrets of a user."""


class Known(NamedTuple):
    """What was told of a user, and when."""

    secrets: Ha1s | None
    at: float


class Users:
    """`find` a user; each name is asked for once at a time, whoever waits for it."""

    def __init__(self, cores: Peers) -> None:
        self._cores = cores
        self._known: OrderedDict[Name, Known] = OrderedDict()
        self._wanted: dict[Name, asyncio.Future[Known]] = {}
        """Not asked for yet."""
        self._asked: dict[Name, asyncio.Future[Known]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(SubscriberAnswer).decode

    async def find(self, name: Name, max_age: float) -> Known:
        """What is known of the user, told `max_age` seconds ago at most. Raises UsersUnavailableError."""
        known = self._known.get(name)
        if known is not None and time.monotonic() - known.at <= max_age:
            return known
        future = self._asked.get(name) or self._wanted.get(name)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._wanted[name] = loop.create_future()
            if not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._start)
        return await asyncio.shield(future)

    def _start(self) -> None:
        self._scheduled = False
        while self._wanted and len(self._calls) < MAX_CALLS:
            names = list(self._wanted)[:MAX_BATCH]
            for name in names:
                self._asked[name] = self._wanted.pop(name)
            task = asyncio.create_task(self._run(names))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _run(self, names: list[Name]) -> None:
        found: list[Ha1s | None] | None = None
        try:
            found = await self._ask(names)
        finally:
            now = time.monotonic()
            for index, name in enumerate(names):
                future = self._asked.pop(name)
                if found is None:
                    future.set_exception(UsersUnavailableError())
                    # Whoever waited may be gone; then nobody takes the exception.
                    future.exception()
                else:
                    self._remember(name, Known(found[index], now))
                    future.set_result(self._known[name])
            asyncio.get_running_loop().call_soon(self._start)

    async def _ask(self, names: list[Name]) -> list[Ha1s | None] | None:
        """The secrets, None where nobody tells them in time."""
        body = self._encode(SubscriberQuery(names))
        until = time.monotonic() + PATIENCE
        tried: set[str] = set()
        while (left := until - time.monotonic()) > 0:
            peer = self._cores.choose(tried)
            if peer is None:
                tried.clear()
                await asyncio.sleep(PAUSE)
                continue
            tried.add(peer.address)
            try:
                answer = await self._cores.call(peer, SUBSCRIBERS, body, timeout=min(left, RPC_TIMEOUT))
                found = self._decode(answer).found
            except NotDoneError:
                continue
            except (OutcomeUnknownError, *UNREADABLE) as error:
                log.warning("presence-core did not tell of users", peer=peer.address, reason=str(error))
                continue
            if len(found) == len(names):
                return found
        return None

    def _remember(self, name: Name, known: Known) -> None:
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
