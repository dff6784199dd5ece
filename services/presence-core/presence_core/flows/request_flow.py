"""The flow of requests of one method: plan, one database call for many, conclude.

Whatever arrives while calls are under way forms the next one. A call that fails because of one of its requests is
halved down to the culprit, which alone is refused. One whose caller does not wait any more is not carried out: it
asks again, and an overloaded database has no time for both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from presence_core.domain import refusals
from vedette.batching import Batcher
from vedette.counting import SIZES, Distribution
from vedette.rpc.contract import Reply
from vedette.rpc.deadline import deadline
from vedette.runtime.journal import NO_JOURNAL, Journal
from vedette.store.database import PoisonedError, StoreUnavailableError, StoreUndecidedError

log = structlog.get_logger()

Call = TypeVar("Call")
Command = TypeVar("Command")
Verdict = TypeVar("Verdict")

ReplyFuture = asyncio.Future[Reply]


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How much one replica takes on: requests in a database call, calls under way, requests waiting.

    `retry_after` says, anew for each request that is refused for a time, for how many seconds.
    """

    max_batch: int = 256
    max_in_flight: int = 2
    max_queue: int = 8192
    retry_after: Callable[[], int] = lambda: refusals.RETRY_AFTER


@dataclass(frozen=True, slots=True)
class _Item(Generic[Call, Command]):
    command: Command
    future: ReplyFuture
    deadline: float
    since: float
    call: Call


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
        journal: Journal = NO_JOURNAL,
        name: Callable[[Call], tuple[str, str]] = lambda _call: ("", ""),
    ) -> None:
        """`apply` returns a verdict for each command, in order; commands of one lane are never in it together.

        `name`: Call-ID and trace of a call.
        """
        self._plan = plan
        self._lane = lane
        self._apply = apply
        self._conclude = conclude
        self._journal = journal
        self._name = name
        self._batcher: Batcher[_Item[Call, Command]] = Batcher(
            max_batch=limits.max_batch, max_in_flight=limits.max_in_flight, max_queue=limits.max_queue
        )
        self._retry_after = limits.retry_after
        self._running: set[asyncio.Task[None]] = set()
        self.batches = Distribution(SIZES)
        """How many requests were in a database call."""
        self.waits = Distribution()
        """Seconds that the first of them had waited for it."""
        self.calls = Distribution()
        """Seconds that the call took."""
        self.replies: dict[int, int] = {}
        """How many requests got which status; 0: the edge is to ask again."""

    @property
    def queued(self) -> int:
        """Requests that wait for a database call."""
        return self._batcher.queued

    def handle(self, calls: Sequence[Call]) -> list[Reply | ReplyFuture]:
        """The answer to each call, or where it will come from; 2xx only after the commit (invariant 1)."""
        replies: list[Reply | ReplyFuture] = []
        loop = asyncio.get_running_loop()
        until, now = deadline(), loop.time()
        for call in calls:
            plan = self._plan(call)
            if isinstance(plan, Reply):
                self._count(plan)
                replies.append(plan)
                continue
            future: ReplyFuture = loop.create_future()
            taken = self._batcher.put(self._lane(plan), _Item(plan, future, until, now, call))
            if not taken:
                self._count(refusals.UNAVAILABLE)
            replies.append(future if taken else self._unavailable())
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

    async def _run(self, batch: list[tuple[Hashable, _Item[Call, Command]]]) -> None:
        now = asyncio.get_running_loop().time()
        awaited = [item for _, item in batch if item.deadline > now]
        self.batches.add(len(batch))
        self.waits.add(now - batch[0][1].since)
        try:
            if len(awaited) < len(batch):
                self._refuse_overdue([item for _, item in batch if item.deadline <= now])
            if awaited:
                await self._settle(awaited)
        finally:
            for lane, item in batch:
                if not item.future.done():
                    item.future.set_result(refusals.ASK_AGAIN)
                self._batcher.release(lane)
            self._batcher.returned()
            self._start()

    def _refuse_overdue(self, items: list[_Item[Call, Command]]) -> None:
        log.warning("requests came to their turn too late", requests=len(items))
        for item in items:
            self._count(refusals.UNAVAILABLE)
            item.future.set_result(self._unavailable())

    async def _settle(self, items: list[_Item[Call, Command]]) -> None:
        """Give every future its reply."""
        begun = asyncio.get_running_loop().time()
        try:
            verdicts = await self._apply([item.command for item in items])
            replies = [self._conclude(item.command, verdict) for item, verdict in zip(items, verdicts, strict=True)]
        except PoisonedError as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self._settle(items[:middle])
                await self._settle(items[middle:])
                return
            call_id, trace = self._name(items[0].call)
            log.warning("request cannot be stored", reason=str(error), call_id=call_id, trace=trace)
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
        took = asyncio.get_running_loop().time() - begun
        self.calls.add(took)
        if self._journal.on:
            names = [self._name(item.call) for item in items]
            self._journal.many(
                "decided",
                [call_id for call_id, _ in names],
                f"{len(items)} in the database call, {took * 1000:.1f} ms",
                traces=[trace for _, trace in names],
                own=[str(reply.status) for reply in replies],
            )
        for item, reply in zip(items, replies, strict=True):
            self._count(reply)
            if not item.future.done():
                item.future.set_result(self._unavailable() if reply is refusals.UNAVAILABLE else reply)

    def _unavailable(self) -> Reply:
        return refusals.unavailable(self._retry_after())

    def _count(self, reply: Reply) -> None:
        self.replies[reply.status] = self.replies.get(reply.status, 0) + 1
