"""Calls to presence-core: batched, spread over the replicas that are ready, asked again until the outcome is known.

A call that surely had no effect goes to another replica at once, and to nobody (503) when none has been ready for a
moment. A call whose outcome is unknown is asked again with the same request, which is safe because the core answers
a copy as it answered the original; after PATIENCE the edge says 504. A batch after which a replica was lost is
halved, so that a request that kills replicas soon travels alone, and is given up after a few of them. So is a batch
that is too large for a call.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from sip_edge.domain.loop_lag import INTERVAL, LoopLag
from sip_edge.domain.waiting_time import WaitingTime
from sip_edge.flows.retry_after import some_seconds
from vedette.batching import Batcher
from vedette.counting import SIZES, Distribution
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers, TooLargeError
from vedette.rpc.contract import (
    BATCH_BODIES,
    REQUESTS,
    UNKNOWN,
    UNREADABLE,
    Call,
    RegisterCall,
    Reply,
    ReplyBatch,
    RequestBatch,
)
from vedette.runtime.journal import NO_JOURNAL, Journal

PATIENCE = 25.0
"""Seconds after which a call with an unknown outcome is answered with 504."""
NOBODY_PATIENCE = 1.5
"""Seconds that a call waits for a replica to become ready."""
RPC_TIMEOUT = 7.0
"""Above the core's database timeout, so that the core has the first word."""
PAUSE = 0.1
MAX_LOST_REPLICAS = 3
BATCHES_PER_REPLICA = 3
PLENTY = 32
"""Calls that wait while one replica has its batches: from so many on, the others have some, too. Fewer wait until
that one has room: many small batches cost more than few large ones."""
STALLED = 0.02
"""Seconds without an answer after which the others have some in any case."""

TOO_LARGE = Reply(513)
UNDECIDED = Reply(504, "Outcome unknown")

log = structlog.get_logger()


@dataclass(slots=True)
class _Pending:
    call: Call | RegisterCall
    lane: Hashable
    answer: Callable[[Reply], None]
    since: float = field(default_factory=time.monotonic)
    undecided: bool = False
    lost: int = 0
    """Replicas that were lost with it."""
    lost_alone: bool = False
    """Whether it was the only one, so that nobody else can be to blame."""

    @property
    def age(self) -> float:
        return time.monotonic() - self.since


class CoreCalls:
    """`submit` calls; each gets exactly one reply, at the latest after PATIENCE and an RPC_TIMEOUT."""

    def __init__(
        self,
        peers: Peers,
        *,
        max_batch: int,
        max_queue: int,
        path: str = REQUESTS,
        batch: Callable[[list[Any]], msgspec.Struct] = RequestBatch,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`path` of the RPC that takes the calls, and what they travel in."""
        self._journal = journal
        self._peers = peers
        self._path = path
        self._new_batch = batch
        self._batcher: Batcher[_Pending] = Batcher(max_batch=max_batch, max_in_flight=1, max_queue=max_queue)
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._slots = 1
        """Batches that all replicas together may have under way."""
        self._spreading: asyncio.TimerHandle | None = None
        self._parked = 0
        self._waiting = WaitingTime(max_batch)
        self._lag = LoopLag()
        self._asking = 0
        """Calls of RPC under way."""
        self._heard = 0.0
        """When the last of them came back, or the first one left."""
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ReplyBatch).decode
        self.batches = Distribution(SIZES)
        """How many calls left together."""
        self.waits = Distribution()
        """Seconds that the first of them had waited."""
        self.round_trips = Distribution()
        """Seconds until presence-core had answered them."""

    @property
    def queued(self) -> int:
        """Calls that wait to be sent."""
        return self._batcher.queued

    @property
    def waiting_time(self) -> float:
        """Seconds that a call would wait now for its reply, as far as that is due to others that came before it."""
        lag = self._lag.seconds
        ready = self._batcher.ready
        if not ready:
            return lag
        now = time.monotonic()
        return lag + self._waiting.estimate(ready, self._slots, self._stalled(now), now)

    def waiting_time_of(self, lane: Hashable) -> float:
        """Seconds that a call would wait for those before it in its lane."""
        ahead = self._batcher.ahead(lane)
        if not ahead:
            return 0.0
        now = time.monotonic()
        return self._waiting.estimate_lane(ahead, self._stalled(now), now)

    def _stalled(self, now: float) -> float:
        return now - self._heard if self._asking else 0.0

    async def watch_loop(self) -> None:
        """See how late the event loop is, for ever."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(INTERVAL)
            self._lag.read(time.monotonic() - before - INTERVAL)

    def submit(self, lane: Hashable, call: Call | RegisterCall, answer: Callable[[Reply], None]) -> None:
        """Have a call answered; at once with 503 where the queue is full."""
        if not self._batcher.put(lane, _Pending(call, lane, answer)):
            answer(_unavailable())
        elif not self._scheduled:
            # At the end of this turn of the loop: all that was read together forms one batch.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    async def drain(self) -> None:
        """Return when every call has its reply."""
        while self._running or self._batcher.queued:
            await asyncio.sleep(0.01)

    def peers_changed(self) -> None:
        """Replicas came or went."""
        log.info("cores", ready=sorted(peer.address for peer in self._peers.ready()))
        self._start()

    def _start(self) -> None:
        self._scheduled = False
        # Batches that wait for a replica, or for one that does not work, hold up nobody.
        besides = sum(peer.in_flight for peer in self._peers.known() if not peer.ready) + self._parked
        self._slots = max(1, BATCHES_PER_REPLICA * len(self._peers.ready())) + besides
        stalled = self._stalled(time.monotonic())
        spread = self._batcher.ready >= PLENTY or stalled >= STALLED
        slots = self._slots if spread else min(self._slots, BATCHES_PER_REPLICA + besides)
        self._batcher.max_in_flight = slots
        while batch := self._batcher.take():
            self._spawn([pending for _, pending in batch])
        if self._batcher.ready and slots < self._slots and self._spreading is None:
            self._spreading = asyncio.get_running_loop().call_later(STALLED - stalled, self._spread)

    def _spread(self) -> None:
        self._spreading = None
        self._start()

    def _spawn(self, batch: list[_Pending]) -> None:
        self.batches.add(len(batch))
        self.waits.add(batch[0].age)
        task = asyncio.create_task(self._run(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[_Pending]) -> None:
        try:
            await self._settle(batch)
        finally:
            self._batcher.returned()
            self._start()

    async def _settle(self, batch: list[_Pending]) -> None:
        """Ask until every call of the batch has its reply."""
        tried: set[str] = set()
        while batch:
            batch = self._give_up(batch, someone_ready=bool(self._peers.ready()))
            if not batch:
                return
            peer = self._peers.choose(tried, fill=BATCHES_PER_REPLICA) or self._peers.choose()
            if peer is None:
                tried.clear()
                await self._pause()
                continue
            if len(batch) > 1 and sum(len(pending.call.body) for pending in batch) > BATCH_BODIES:
                await self._settle_halves(batch)
                return
            try:
                replies = await self._ask(peer, batch)
            except TooLargeError as error:
                if len(batch) > 1:
                    await self._settle_halves(batch)
                else:
                    log.warning("call to presence-core is too large", reason=str(error))
                    self._finish(batch[0], UNDECIDED if batch[0].undecided else TOO_LARGE)
                return
            except NotDoneError:
                tried.add(peer.address)
                continue
            except OutcomeUnknownError as error:
                log.warning("call to presence-core broke", peer=peer.address, calls=len(batch), reason=str(error))
                tried.add(peer.address)
                for pending in batch:
                    pending.undecided = True
                    pending.lost += 1
                    pending.lost_alone = len(batch) == 1
                if len(batch) > 1:
                    await self._settle_halves(batch)
                    return
                await self._pause()
                continue
            batch = self._deal(batch, replies)
            if batch:
                await self._pause()

    async def _ask(self, peer: Peer, batch: list[_Pending]) -> list[Reply]:
        """The replies of a replica."""
        calls = [pending.call for pending in batch]
        body = self._encode(self._new_batch(calls))
        if not self._journal.on:
            return self._read(await self._call(peer, body, len(calls)), len(calls))
        of, traces = [call.call_id for call in calls], [call.trace for call in calls]
        detail = f"{peer.address}, {len(calls)} in the batch"
        self._journal.many("to core", of, detail, traces=traces)
        replies = self._read(await self._call(peer, body, len(calls)), len(calls))
        self._journal.many("from core", of, detail, traces=traces)
        return replies

    async def _call(self, peer: Peer, body: bytes, calls: int) -> bytes:
        """The answer of a replica, and what it took is noted."""
        begun = time.monotonic()
        if not self._asking:
            self._heard = begun
        self._asking += 1
        try:
            answer = await self._peers.call(peer, self._path, body, timeout=RPC_TIMEOUT)
        finally:
            self._asking -= 1
        self._heard = time.monotonic()
        self._waiting.came_back(calls, self._heard - begun, self._heard)
        self.round_trips.add(self._heard - begun)
        return answer

    async def _settle_halves(self, batch: list[_Pending]) -> None:
        middle = len(batch) // 2
        await asyncio.gather(self._settle(batch[:middle]), self._settle(batch[middle:]))

    def _read(self, answer: bytes, calls: int) -> list[Reply]:
        """The replies in an answer; OutcomeUnknownError where they are not one for each call."""
        try:
            replies = self._decode(answer).replies
        except UNREADABLE as error:
            raise OutcomeUnknownError(f"unreadable answer: {error}") from error
        if len(replies) != calls:
            raise OutcomeUnknownError(f"{len(replies)} replies to {calls} calls")
        return replies

    async def _pause(self) -> None:
        """Wait before asking again; what comes meanwhile is sent for itself, and refused in its own time."""
        self._parked += 1
        self._start()
        try:
            await asyncio.sleep(PAUSE)
        finally:
            self._parked -= 1

    def _deal(self, batch: list[_Pending], replies: list[Reply]) -> list[_Pending]:
        """Hand out the replies; the calls that nobody knows the outcome of yet are left."""
        left: list[_Pending] = []
        for pending, reply in zip(batch, replies, strict=True):
            if reply.status == UNKNOWN:
                pending.undecided = True
                left.append(pending)
            elif reply.status == 503 and pending.undecided:
                # This call had no effect; the one before it, whose outcome nobody knows, may have had one.
                left.append(pending)
            else:
                self._finish(pending, reply)
        return left

    def _give_up(self, batch: list[_Pending], *, someone_ready: bool) -> list[_Pending]:
        """Answer the calls that have waited long enough; the others are left."""
        if someone_ready and not any(pending.undecided for pending in batch):
            return batch
        left: list[_Pending] = []
        for pending in batch:
            if pending.undecided:
                if pending.age > PATIENCE or (pending.lost_alone and pending.lost >= MAX_LOST_REPLICAS):
                    self._finish(pending, UNDECIDED)
                    continue
            elif pending.age > NOBODY_PATIENCE and not someone_ready:
                self._finish(pending, _unavailable())
                continue
            left.append(pending)
        return left

    def _finish(self, pending: _Pending, reply: Reply) -> None:
        self._batcher.release(pending.lane)
        try:
            pending.answer(reply)
        except Exception:
            # One answer that cannot be written must not take those of the rest of its batch with it.
            log.exception("cannot answer", status=reply.status)


def _unavailable() -> Reply:
    return Reply(503, headers=[("Retry-After", str(some_seconds()))])
