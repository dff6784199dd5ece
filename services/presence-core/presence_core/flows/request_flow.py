"""The flow of requests of one method: plan, one database call for many, conclude.

Whatever arrives while calls are under way forms the next one. A call that fails because of one of its requests is
halved down to the culprit, which alone is refused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from presence_core.domain import refusals
from vedette.batching import Batcher
from vedette.rpc.contract import Reply
from vedette.store.database import PoisonedError, StoreUnavailableError, StoreUndecidedError

log = structlog.get_logger()

Call = TypeVar("Call")
Command = TypeVar("Command")
Verdict = TypeVar("Verdict")

ReplyFuture = asyncio.Future[Reply]


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How much one replica takes on: requests in a database call, calls under way, requests waiting."""

    max_batch: int = 256
    max_in_flight: int = 2
    max_queue: int = 8192


class RequestFlow(Generic[Call, Command, Verdict]):
    """The steps for one method; `plan` and `conclude` are pure, `apply` is the database call for a batch."""

    def __init__(
        self,
        *,
        plan: Callable[[Call], Command | Reply],
        lane: Callable[[Command], Hashable],
        apply: Callable[[list[Command]], Awaitable[list[Verdict]]],
        conclude: Callable[[Command, Verdict], Reply],
        limits: FlowLimits,
    ) -> None:
        """`apply` returns a verdict for each command, in order; commands of one lane are never in it together."""
        self._plan = plan
        self._lane = lane
        self._apply = apply
        self._conclude = conclude
        self._batcher: Batcher[tuple[Command, ReplyFuture]] = Batcher(
            max_batch=limits.max_batch, max_in_flight=limits.max_in_flight, max_queue=limits.max_queue
        )
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, calls: Sequence[Call]) -> list[Reply | ReplyFuture]:
        """The answer to each call, or where it will come from; 2xx only after the commit (invariant 1)."""
        replies: list[Reply | ReplyFuture] = []
        loop = asyncio.get_running_loop()
        for call in calls:
            plan = self._plan(call)
            if isinstance(plan, Reply):
                replies.append(plan)
                continue
            future: ReplyFuture = loop.create_future()
            taken = self._batcher.put(self._lane(plan), (plan, future))
            replies.append(future if taken else refusals.UNAVAILABLE)
        self._start()
        return replies

    async def drain(self) -> None:
        """Return when nothing is under way any more."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self) -> None:
        while batch := self._batcher.take():
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[tuple[Hashable, tuple[Command, ReplyFuture]]]) -> None:
        try:
            await self._settle([item for _, item in batch])
        finally:
            for lane, (_, future) in batch:
                if not future.done():
                    future.set_result(refusals.ASK_AGAIN)
                self._batcher.release(lane)
            self._batcher.returned()
            self._start()

    async def _settle(self, items: list[tuple[Command, ReplyFuture]]) -> None:
        """Give every future its reply."""
        try:
            verdicts = await self._apply([command for command, _ in items])
            replies = [
                self._conclude(command, verdict) for (command, _), verdict in zip(items, verdicts, strict=True)
            ]
        except PoisonedError as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self._settle(items[:middle])
                await self._settle(items[middle:])
                return
            log.warning("request cannot be stored", reason=str(error))
            replies = [refusals.CANNOT_STORE]
        except StoreUnavailableError as error:
            log.warning("requests refused", requests=len(items), reason=str(error))
            replies = [refusals.UNAVAILABLE] * len(items)
        except StoreUndecidedError as error:
            log.warning("outcome of requests unknown", requests=len(items), reason=str(error))
            replies = [refusals.ASK_AGAIN] * len(items)
        except Exception:
            log.exception("database call failed", requests=len(items))
            replies = [refusals.ASK_AGAIN] * len(items)
        for (_, future), reply in zip(items, replies, strict=True):
            if not future.done():
                future.set_result(reply)
