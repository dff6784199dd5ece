"""The trace of a Call-ID: what every process remembers of it, and what Postgres knows of its dialogs."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import Path
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.rest.subscriptions import (
    SubscriptionView,
    find_subscription,
    subscription_example,
    subscription_view,
)
from vedette.rpc.contract import TRACE, UNREADABLE, TraceAnswer, TraceEvent, TraceQuery
from vedette.store.api_tokens import Role
from vedette.store.replicas import seen_within

PATIENCE = 2.0
"""Seconds that each process has to answer."""
MOST_DIALOGS = 10

ARROWS = {
    "request": ("client", "edge"),
    "repeated": ("client", "edge"),
    "to core": ("edge", "core"),
    "decided": ("core", "core"),
    "from core": ("core", "edge"),
    "answer": ("edge", "client"),
    "claimed": ("notifier", "notifier"),
    "unchanged": ("notifier", "notifier"),
    "handed over": ("notifier", "edge"),
    "held": ("edge", "edge"),
    "notify": ("edge", "client"),
    "again": ("edge", "client"),
    "answered": ("client", "edge"),
    "no answer": ("edge", "edge"),
    "settled": ("notifier", "notifier"),
}
"""Who told whom; the same twice: it happened there."""


class TracedEvent(BaseModel):
    """Something that happened to a request or a NOTIFY with this Call-ID."""

    at: datetime = Field(description="By the clock of its host.")
    what: str
    sender: str = Field(description="client, edge, core or notifier.")
    receiver: str = Field(description="The same as the sender: it happened there.")
    detail: str
    trace: str = Field(description="Names this request or NOTIFY in the logs of all services.")
    service: str
    instance: str


class Trace(BaseModel):
    """What is known of a Call-ID."""

    call_id: str
    events: list[TracedEvent]
    subscriptions: list[SubscriptionView] = Field(description="Its dialogs that are alive, of those that were seen.")
    silent: list[str] = Field(description="Processes that did not answer.")


_EXAMPLE = {
    "call_id": "3848276298220188511",
    "events": [
        {
            "at": "2026-11-28T21:45:25.123456Z",
            "what": "request",
            "sender": "client",
            "receiver": "edge",
            "detail": "SUBSCRIBE 1 from udp:192.0.2.7:5060",
            "trace": "7f3a9c1",
            "service": "sip-edge",
            "instance": "7f3a9c2b41d0",
        }
    ],
    "subscriptions": [subscription_example()],
    "silent": [],
}


def add_trace(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    @operations.add(
        "GET",
        "/trace/{call_id:path}",
        tag="system",
        role=Role.OPERATOR,
        whole_system=True,
        errors=(422,),
        example=_EXAMPLE,
    )
    async def trace_call(
        caller: CallerDep,
        call_id: Annotated[
            str, Path(max_length=512, pattern=NO_NUL, description="The Call-ID of a request or dialog.")
        ],
    ) -> Trace:
        """Show what happened of late to a Call-ID, on every process.

        Each process remembers what fits into its `trace_buffer`, and forgets it when it ends.
        """
        services = {row["instance"]: row["service"] for row in await seen_within(parts.database, PATIENCE + 3)}
        body = msgspec.msgpack.encode(TraceQuery(call_id))
        answers = await parts.replica_calls.each(TRACE, timeout=PATIENCE, body=body)
        events: list[tuple[str, TraceEvent]] = []
        silent: list[str] = []
        for instance, answer in answers.items():
            try:
                found = msgspec.msgpack.decode(answer or b"", type=TraceAnswer).events
            except UNREADABLE:
                silent.append(instance)
                continue
            events += [(instance, event) for event in found]
        events.sort(key=lambda one: one[1].at)
        return Trace(
            call_id=call_id,
            events=[_view(event, instance, services.get(instance, "")) for instance, event in events],
            subscriptions=await _subscriptions(parts, caller, [event for _, event in events]),
            silent=sorted(silent),
        )


async def _subscriptions(parts: Parts, caller: Caller, events: list[TraceEvent]) -> list[SubscriptionView]:
    tags = dict.fromkeys(event.dialog.rpartition("tag=")[2] for event in events if event.dialog)
    found: list[SubscriptionView] = []
    for tag in list(tags)[-MOST_DIALOGS:]:
        try:
            found.append(subscription_view(await find_subscription(parts, caller, tag)))
        except RestError:
            continue  # it has ended
    return found


def _view(event: TraceEvent, instance: str, service: str) -> TracedEvent:
    sender, receiver = ARROWS.get(event.what, (service, service))
    return TracedEvent(
        at=datetime.fromtimestamp(event.at, UTC),
        what=event.what,
        sender=sender,
        receiver=receiver,
        detail=event.detail,
        trace=event.trace,
        service=service,
        instance=instance,
    )
