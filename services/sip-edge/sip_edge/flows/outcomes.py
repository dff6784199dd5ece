"""Outcomes of NOTIFYs on their way back: batched, to any notifier, kept until one has taken them."""

import asyncio
import time

import msgspec
import structlog

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers
from vedette.rpc.contract import OUTCOMES, Outcome, OutcomeBatch
from vedette.spacing import Spacing

MAX_BATCH = 500
MAX_WAITING = 200_000
IN_FLIGHT = 2
FILL = 1
"""Reports under way at the notifier whose turn it is before another one has any: a stuck one holds up one of them."""
RPC_TIMEOUT = 7.0
PAUSE = 0.1
SPACE, ENOUGH = 0.004, 50
"""Seconds between two batches of which the first had fewer outcomes than that."""

log = structlog.get_logger()


class OutcomeReporter:
    """`report` outcomes; run `run` as a task. Reporting one twice is harmless: its CSeq no longer matches."""

    def __init__(self, notifiers: Peers) -> None:
        self._notifiers = notifiers
        self._waiting: list[Outcome] = []
        self._something = asyncio.Event()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._running: set[asyncio.Task[None]] = set()
        self._spacing = Spacing(SPACE, ENOUGH)
        self._encode = msgspec.msgpack.Encoder().encode
        self.lost = 0
        """Outcomes dropped because too many waited; the notifiers find out by time."""

    @property
    def waiting(self) -> int:
        """Outcomes that no notifier has taken yet."""
        return len(self._waiting) + len(self._running)

    def report(self, outcome: Outcome) -> None:
        """Pass on an outcome as soon as possible."""
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append(outcome)
        self._something.set()

    async def run(self) -> None:
        """Send what is waiting, for ever."""
        while True:
            await self._something.wait()
            await self._slots.acquire()
            if delay := self._spacing.delay(time.monotonic()):
                await asyncio.sleep(delay)
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._something.clear()
            self._spacing.begun(time.monotonic(), len(batch))
            task = asyncio.create_task(self._send(batch))
            self._running.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()

    async def _send(self, batch: list[Outcome]) -> None:
        body = self._encode(OutcomeBatch(batch))
        tried: set[str] = set()
        while True:
            peer = self._notifiers.choose(tried, fill=FILL) or self._notifiers.choose()
            if peer is not None:
                try:
                    await self._notifiers.call(peer, OUTCOMES, body, timeout=RPC_TIMEOUT)
                except (NotDoneError, OutcomeUnknownError) as error:
                    tried.add(peer.address)
                    log.info("outcomes not taken", peer=peer.address, outcomes=len(batch), reason=str(error))
                else:
                    return
            await asyncio.sleep(PAUSE)

    async def drain(self) -> None:
        """Return when everything has been taken."""
        while self._waiting or self._running:
            await asyncio.sleep(0.01)
