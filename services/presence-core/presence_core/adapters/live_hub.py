"""Live events for many readers: each has a bounded queue, all share a bounded memory of what was."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from vedette.live import LiveBatch, LiveEvent

LINGER = 30.0
"""Seconds that events are still gathered for readers who come back, after the last one has gone."""
SILENCE = 3.5
"""Seconds after which a process that has told nothing, not even its number, is missed."""


class Gap(StrEnum):
    """Why something may be missing."""

    REDIS = "redis"
    """What happens cannot be heard, or could not for a while."""
    LOST = "lost"
    """A process has told something that did not arrive, or could not tell it."""
    SILENT = "silent"
    """A process has fallen silent: it may have been killed."""
    TOO_LATE = "too_late"
    """What came after the Last-Event-ID is not kept any more, or another process of the api kept it."""


class Frame(NamedTuple):
    """One event as it is sent; `event` None: a gap, which concerns all readers."""

    number: int
    event: LiveEvent | None
    data: bytes


Accept = Callable[[LiveEvent], bool]


class Reader:
    """One stream: what waits for it, in order."""

    def __init__(self, accept: Accept, limit: int) -> None:
        self._accept = accept
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._something = asyncio.Event()
        self.over: str | None = None
        """Why nothing more comes, behind what waits."""

    def put(self, frame: Frame) -> bool:
        """The frame, if the reader wants it; False where it is one too many, and nothing more comes."""
        if self.over is not None or not (frame.event is None or self._accept(frame.event)):
            return True
        if len(self._frames) >= self._limit:
            self.end("slow")
            return False
        self._frames.append(frame.data)
        self._something.set()
        return True

    def add(self, data: bytes) -> None:
        """These octets, whatever the limit."""
        self._frames.append(data)
        self._something.set()

    def end(self, reason: str) -> None:
        """Nothing more comes."""
        if self.over is None:
            self.over = reason
            self._something.set()

    async def next(self, patience: float) -> bytes:
        """What waits, all of it; nothing where nothing came for so many seconds, or it is over."""
        if not self._frames and self.over is None:
            self._something.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._something.wait()
            except TimeoutError:
                return b""
        data = b"".join(self._frames)
        self._frames.clear()
        return data


@dataclass(slots=True)
class _Process:
    """A process that tells what it does."""

    number: int
    heard: float
    heard_at: float
    service: str


@dataclass(slots=True)
class _Known:
    """The processes that were heard."""

    processes: dict[str, _Process] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class LiveHub:
    """What is heard goes to every reader that wants it."""

    def __init__(
        self,
        epoch: str,
        *,
        buffer: int,
        queue: int,
        readers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`epoch`: names this hub in cursors. Events that are kept, that may wait for a reader; readers at once."""
        self._epoch = epoch
        self._kept: deque[Frame] = deque(maxlen=buffer)
        self._queue = queue
        self._most = readers
        self._clock = clock
        self._readers: set[Reader] = set()
        self._number = 0
        self._wanted_until = float("-inf")
        self._known = _Known()
        self._closed = False
        self.dropped = 0
        """Readers that were too slow."""

    @property
    def wanted(self) -> bool:
        """Whether somebody listens, or did a moment ago."""
        return bool(self._readers) or self._clock() < self._wanted_until

    @property
    def readers(self) -> int:
        """How many there are."""
        return len(self._readers)

    @property
    def full(self) -> bool:
        """Whether there is no place for another reader."""
        return len(self._readers) >= self._most or self._closed

    def want(self) -> None:
        """Somebody is about to join."""
        if not self.wanted:
            # Nobody has listened for a while: what was kept does not reach up to now.
            self._kept.clear()
            self._number += 1
            self._known = _Known()
        self._wanted_until = self._clock() + LINGER

    def join(self, accept: Accept) -> Reader | None:
        """A new reader, who gets what comes from now on; None where there are too many."""
        if self.full:
            return None
        self.want()
        reader = Reader(accept, self._queue)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """The reader has gone."""
        self._readers.discard(reader)
        if not self._readers:
            self._wanted_until = self._clock() + LINGER

    def catch_up(self, reader: Reader, accept: Accept, last_id: str) -> None:
        """Give a reader who has just joined what came after that id, or say that it is not there any more."""
        epoch, _, text = last_id.partition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        oldest = self._kept[0].number if self._kept else self._number + 1
        if epoch != self._epoch or not oldest - 1 <= number <= self._number:
            self.gap_for(reader, Gap.TOO_LATE, "what came after this Last-Event-ID is not kept any more")
            return
        for frame in self._kept:
            if frame.number > number and (frame.event is None or accept(frame.event)):
                reader.add(frame.data)

    def take(self, batch: LiveBatch) -> None:
        """What a process has told."""
        known = self._known.processes.get(batch.instance)
        if known is not None:
            expected = known.number + bool(batch.events)
            if batch.number < expected and batch.events:
                return  # told twice
            if batch.number > expected:
                self.gap(Gap.LOST, f"{batch.service} {batch.instance} has told something that did not arrive")
        for event in batch.events:
            self._number += 1
            self._give(Frame(self._number, event, self._event_data(event)))
        if batch.leaving:
            self._known.processes.pop(batch.instance, None)
            return
        self._known.processes[batch.instance] = _Process(batch.number, self._clock(), time.time(), batch.service)
        if known is None:
            self._known.changed.set()

    def gap_for(self, reader: Reader, reason: Gap, detail: str) -> None:
        """Tell one reader that it may miss something, and why."""
        reader.add(self._gap_data(reason, detail, {}))

    def gap(self, reason: Gap, detail: str, **more: object) -> None:
        """Tell all readers that something may be missing, and why."""
        self._number += 1
        self._give(Frame(self._number, None, self._gap_data(reason, detail, more)))

    def watch(self) -> None:
        """Miss the processes that have fallen silent; call it each second."""
        now = self._clock()
        for instance, process in list(self._known.processes.items()):
            if now - process.heard > SILENCE and self.wanted:
                del self._known.processes[instance]
                self.gap(Gap.SILENT, f"{process.service} {instance} has fallen silent", since=text(process.heard_at))

    def lost(self) -> None:
        """Nothing can be heard now."""
        self._known = _Known()
        if self.wanted:
            self.gap(Gap.REDIS, "the connection to Redis is lost: what happens is not told until it is back")

    async def heard_from(self, instances: set[str], patience: float) -> set[str]:
        """Those of the processes that were not heard within so many seconds."""
        try:
            async with asyncio.timeout(patience):
                while missing := instances - self._known.processes.keys():
                    self._known.changed.clear()
                    await self._known.changed.wait()
                return missing
        except TimeoutError:
            return instances - self._known.processes.keys()

    def close(self) -> None:
        """End all streams: this process stops."""
        self._closed = True
        for reader in self._readers:
            reader.end("stopping")

    def _give(self, frame: Frame) -> None:
        self._kept.append(frame)
        for reader in self._readers:
            self.dropped += not reader.put(frame)

    def _event_data(self, event: LiveEvent) -> bytes:
        return self._data(event.kind, view(event))

    def _gap_data(self, reason: Gap, detail: str, more: dict[str, object]) -> bytes:
        return self._data("gap", {"reason": str(reason), "detail": detail, "time": text(time.time()), **more})

    def _data(self, name: str, content: dict[str, Any]) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (
            self._epoch.encode(),
            self._number,
            name.encode(),
            msgspec.json.encode(content),
        )


def view(event: LiveEvent) -> dict[str, Any]:
    """The event as readers get it: what does not apply to its kind is left out."""
    found: dict[str, Any] = {
        "kind": event.kind,
        "what": event.what,
        "time": text(event.time),
        "presentity": event.presentity,
        "event": event.event,
        "id": event.id,
    }
    if event.kind == "publication":
        return found | {"expires_in": event.expires, "version": event.version}
    found["watcher"] = event.watcher
    if event.kind == "subscription":
        return found | {"expires_in": event.expires, "reason": event.reason or None}
    return found | {"outcome": event.what, "code": event.code, "cseq": event.cseq}


def text(moment: float) -> str:
    """Seconds since the epoch as JSON has them."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
