"""Live: what happens in the whole system, as it happens (server-sent events)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from presence_core.adapters.live_hub import Reader
from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.names import DomainFilter, EventFilter
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.live import Kind, LiveEvent
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role
from vedette.store.database import StoreError

HEARTBEAT = 5.0
"""Seconds between comments where nothing happens, and between looks at the token: so late a revocation acts."""
MEDIA_TYPE = "text/event-stream"
MOST_SECONDS = 86400

_EXAMPLE = (
    "id: 5f1c8a02-17\n"
    "event: publication\n"
    'data: {"kind":"publication","what":"modified","time":"2026-11-28T21:45:25.204113Z",'
    '"presentity":"sip:alice@example.com","event":"presence","id":"5f1c8a02.0123456789abcdef0123456789abcdef",'
    '"expires_in":600,"version":1795902325204113}\n\n'
    "id: 5f1c8a02-18\n"
    "event: notify\n"
    'data: {"kind":"notify","what":"delivered","time":"2026-11-28T21:45:25.220341Z",'
    '"presentity":"sip:alice@example.com","event":"presence","id":"10.5f1c8a02.fedcba9876543210fedcba9876543210",'
    '"watcher":"sip:bob@example.com","outcome":"delivered","code":200,"cseq":7}\n\n'
)
_ABOUT = """Stream what happens, as it happens.

`event` is publication, subscription or notify, and `data` one JSON object: kind; what (created, refreshed, modified,
removed, expired; of a subscription also fetched; of a NOTIFY its outcome: delivered, failed, timeout, unreachable,
flow_gone); time; presentity; event; id; and by its kind expires_in, version, watcher, reason, outcome, code, cseq.
`event: gap` says that something may be missing, and why (reason: redis, lost, silent, too_late). A reader that is too
slow is dropped: its last event is `event: dropped`. A comment comes every five seconds where nothing else does.
From the moment that the answer begins, what is missing is told as a gap. What one process did is in its order; that
of several processes may be mixed up by milliseconds: `version` and `time` say what came first."""


def add_live_events(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    async def stream_events(
        request: Request,
        caller: CallerDep,
        kind: Annotated[list[Kind] | None, Query(max_length=3, description="Only these; may be repeated.")] = None,
        presentity: Annotated[
            str | None,
            Query(max_length=1024, pattern=NO_NUL, description="Only this, like sip:alice@example.com."),
        ] = None,
        event: EventFilter = None,
        domain: DomainFilter = None,
        seconds: Annotated[
            int | None, Query(ge=0, le=MOST_SECONDS, description="End the stream after so long; without: never.")
        ] = None,
        last_event_id: Annotated[
            str | None,
            Header(max_length=64, description="The id of the last event seen: what came after it is sent first."),
        ] = None,
    ) -> EventStream:
        aor = None if presentity is None else parts.aor_of(presentity, "query.presentity")
        if aor is not None:
            caller.must_see(aor)
        accept = _filter(frozenset(kind or ()), aor, event, caller.domain_of(domain))
        hub = parts.live.hub
        gap = None if hub.full else await parts.live.begin()
        reader = hub.join(accept)
        if reader is None:
            detail = f"there are {hub.readers} readers already, and no more may be (api_live_readers)"
            raise RestError(429, detail, headers={"Retry-After": "10"})
        if last_event_id is not None:
            hub.catch_up(reader, accept, last_event_id)
        if gap is not None:
            hub.gap_for(reader, *gap)
        return EventStream(
            reader, leave=lambda: hub.leave(reader), still_may=lambda: _still_may(request, caller), seconds=seconds
        )

    stream_events.__doc__ = _ABOUT
    operations.add(
        "GET",
        "/events",
        tag="live",
        role=Role.READER,
        errors=(422,),
        media_type=MEDIA_TYPE,
        response_class=EventStream,
        example=_EXAMPLE,
        extra={"x-stream": True},
    )(stream_events)


def _filter(
    kinds: frozenset[Kind], presentity: str | None, event: str | None, domain: str | None
) -> Callable[[LiveEvent], bool]:
    def accept(found: LiveEvent) -> bool:
        return (
            (not kinds or found.kind in kinds)
            and (presentity is None or found.presentity == presentity)
            and (event is None or found.event == event)
            and (domain is None or split_aor(found.presentity)[1] == domain)
        )

    return accept


async def _still_may(request: Request, caller: Caller) -> bool:
    """Whether the token that the stream began with still counts; while nobody can say, it does."""
    if caller.token_id is None:
        return True
    try:
        await request.app.state.gate.admit(request, Role.READER, whole_system=False)
    except RestError:
        return False
    except StoreError:
        return True
    return True


class EventStream(StreamingResponse):
    """The answer: what waits for the reader, until it goes, is dropped, or its time is over."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        reader: Reader,
        *,
        leave: Callable[[], None],
        still_may: Callable[[], Awaitable[bool]],
        seconds: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            iter(()), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})}
        )
        self._reader = reader
        self._leave = leave
        self._still_may = still_may
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        del scope
        tasks = {asyncio.create_task(self._pump(send)), asyncio.create_task(_gone(receive))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._leave()

    async def _pump(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        end = None if self._seconds is None else loop.time() + self._seconds
        looked = loop.time()

        async def write(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await write(b": listening\n\n")
        while True:
            left = HEARTBEAT if end is None else min(HEARTBEAT, end - loop.time())
            data = await self._reader.next(max(left, 0.0))
            if data:
                await write(data)
            elif self._reader.over is not None:
                await write(_dropped(self._reader.over), more=False)
                return
            elif end is not None and loop.time() >= end:
                await write(b"", more=False)
                return
            else:
                await write(b": alive\n\n")
            if loop.time() - looked >= HEARTBEAT:
                looked = loop.time()
                if not await self._still_may():
                    self._reader.end("token")


_DROPPED: Mapping[str, str] = {
    "slow": "this reader takes less than there is: come back with Last-Event-ID, or ask for less",
    "token": "the token counts no more",
    "stopping": "this process stops: come back",
}


def _dropped(reason: str) -> bytes:
    return f'event: dropped\ndata: {{"reason":"{reason}","detail":"{_DROPPED[reason]}"}}\n\n'.encode()


async def _gone(receive: Receive) -> None:
    """Return when the client is gone."""
    with contextlib.suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
