"""What happened of late to the requests that passed here, by Call-ID: kept in memory, bounded, for `vedette trace`.

At the log level debug each event is a line of the log, too.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
import structlog

from vedette.rpc.contract import TraceAnswer, TraceEvent, TraceQuery

_EVENT = 240
"""Octets of an event in memory, about, besides its texts; most of these are kept elsewhere anyway."""
_MEMBER = 140
"""Of one more Call-ID in an event of several, with what is its own."""
MOST_FOUND = 1000
"""Events that an answer has, the newest ones."""

log = structlog.get_logger()


class _Entry(msgspec.Struct, frozen=True, gc=False):
    at: float
    what: str
    call_ids: Sequence[str]
    traces: Sequence[str]
    own: Sequence[str]
    """What each of them has besides `detail`; empty: nothing."""
    detail: str
    dialog: str
    size: int


class Journal:
    """A ring of events. Writing one costs about a microsecond; a look for a Call-ID goes through all of them."""

    def __init__(self, limit: int, *, verbose: bool = False) -> None:
        """`limit` in octets, about; 0: nothing is kept. `verbose`: all is logged."""
        self._limit = limit
        self._verbose = verbose
        self.on = bool(limit) or verbose
        """Whether anything is to be written: what is costly to say need not be said otherwise."""
        self._entries: deque[_Entry] = deque()
        self.size = 0
        """Octets of what is kept, about."""

    def one(self, what: str, call_id: str, detail: str = "", *, trace: str = "", dialog: str = "") -> None:
        """Something happened to one request. `dialog`: text that ends with our tag of its dialog."""
        if self._verbose:
            log.debug(what, call_id=call_id, trace=trace, detail=detail)
        if self._limit:
            self._keep(_Entry(time.time(), what, (call_id,), (trace,), (), detail, dialog, _EVENT + len(detail)))

    def many(
        self,
        what: str,
        call_ids: Sequence[str],
        detail: str = "",
        *,
        traces: Sequence[str] = (),
        own: Sequence[str] = (),
    ) -> None:
        """The same happened to several at once."""
        if self._verbose:
            for event in _events(_Entry(0.0, what, call_ids, traces, own, detail, "", 0), None):
                log.debug(what, call_id=event.call_id, trace=event.trace, detail=event.detail)
        if self._limit and call_ids:
            size = _EVENT + len(detail) + _MEMBER * len(call_ids)
            self._keep(_Entry(time.time(), what, call_ids, traces, own, detail, "", size))

    def _keep(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self.size += entry.size
        while self.size > self._limit:
            self.size -= self._entries.popleft().size

    def find(self, call_id: str) -> list[TraceEvent]:
        """What is known of a Call-ID, in order."""
        found = [event for entry in self._entries if call_id in entry.call_ids for event in _events(entry, call_id)]
        return found[-MOST_FOUND:]


NO_JOURNAL = Journal(0)
"""Where nothing is written down."""


def _events(entry: _Entry, call_id: str | None) -> Iterator[TraceEvent]:
    """The events of an entry, those of one Call-ID or all."""
    for index, of in enumerate(entry.call_ids):
        if call_id is None or of == call_id:
            own = entry.own[index] if entry.own else ""
            detail = ", ".join(part for part in (own, entry.detail) if part)
            trace = entry.traces[index] if entry.traces else ""
            yield TraceEvent(entry.at, entry.what, of, trace, detail, entry.dialog)


class TraceHandler:
    """The RPC call that asks for it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read = msgspec.msgpack.Decoder(TraceQuery).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """What is known of the Call-ID."""
        return self._write(TraceAnswer(self._journal.find(self._read(body).call_id)))
