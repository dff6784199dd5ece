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

import msgspec
import structlog

from vedette.batching import Batcher
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers, TooLargeError
from vedette.rpc.contract import BATCH_BODIES, REQUESTS, UNKNOWN, UNREADABLE, Call, Reply, ReplyBatch, RequestBatch

PATIENCE = 25.0
"""Seconds after which a call with an unknown outcome is answered with 504."""
NOBODY_PATIENCE = 1.5
"""Seconds that a call waits for a replica to become ready."""
RPC_TIMEOUT = 7.0
"""Above the core's database timeout, so that the core has the first word."""
PAUSE = 0.1
MAX_LOST_REPLICAS = 3
BATCHES_PER_REPLICA = 3

UNAVAILABLE = Reply(503, headers=[("Retry-After", "2")])
TOO_LARGE = Reply(513)
UNDECIDED = Reply(504, "Outcome unknown")

log = structlog.get_logger()


@dataclass(slots=True)
class _Pending:
    call: Call
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

    def __init__(self, peers: Peers, *, max_batch: int, max_queue: int) -> None:
        self._peers = peers
        self._batcher: Batcher[_Pending] = Batcher(max_batch=max_batch, max_in_flight=1, max_queue=max_queue)
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._parked = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ReplyBatch).decode

    @property
    def queued(self) -> int:
        """Calls that wait to be sent."""
        return self._batcher.queued

    def submit(self, lane: Hashable, call: Call, answer: Callable[[Reply], None]) -> None:
        """Have a call answered; at once with 503 where the queue is full."""
        if not self._batcher.put(lane, _Pending(call, lane, answer)):
            answer(UNAVAILABLE)
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
        stuck = sum(peer.in_flight for peer in self._peers.known() if not peer.ready)
        self._batcher.max_in_flight = max(1, BATCHES_PER_REPLICA * len(self._peers.ready())) + stuck + self._parked
        while batch := self._batcher.take():
            self._spawn([pending for _, pending in batch])

    def _spawn(self, batch: list[_Pending]) -> None:
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
            peer = self._peers.choose(tried) or self._peers.choose()
            if peer is None:
                tried.clear()
                await self._pause()
                continue
            if len(batch) > 1 and sum(len(pending.call.body) for pending in batch) > BATCH_BODIES:
                await self._settle_halves(batch)
                return
            body = self._encode(RequestBatch([pending.call for pending in batch]))
            try:
                answer = await self._peers.call(peer, REQUESTS, body, timeout=RPC_TIMEOUT)
                replies = self._read(answer, len(batch))
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
        left: list[_Pending] = []
        for pending in batch:
            if pending.undecided:
                if pending.age > PATIENCE or (pending.lost_alone and pending.lost >= MAX_LOST_REPLICAS):
                    self._finish(pending, UNDECIDED)
                    continue
            elif pending.age > NOBODY_PATIENCE and not someone_ready:
                self._finish(pending, UNAVAILABLE)
                continue
            left.append(pending)
        return left

    def _finish(self, pending: _Pending, reply: Reply) -> None:
        self._batcher.release(pending.lane)
        pending.answer(reply)
