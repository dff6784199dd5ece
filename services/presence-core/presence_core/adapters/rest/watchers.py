"""Watchers: what was decided about them, and deciding by hand, which goes before all rules."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import asyncpg
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.names import DomainFilter, EventFilter, Text, event_of, user_of
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import (
    NO_NUL,
    SCANNED,
    SMALLEST_INT4,
    Cursor,
    Limit,
    Page,
    page_of,
    read_cursor,
    write_cursor,
)
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.subscriptions import watcher_name
from vedette.identity import presentity, presentity_hash
from vedette.rules.permissions import Handling
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role
from vedette.store.authorization import decide_by_hand

_LIST = """
SELECT k.*
FROM (
    SELECT * FROM watchers AS a
    WHERE (a.presentity_hash, a.presentity_uri, a.event, a.watcher_username, a.watcher_domain)
            > ($1::int4, $2::text COLLATE "C", $3::text COLLATE "C", $4::text, $5::text)
        AND ($7::int4 IS NULL OR a.presentity_hash = $7)
    ORDER BY a.presentity_hash, a.presentity_uri, a.event, a.watcher_username, a.watcher_domain
    LIMIT $6
) AS k
WHERE ($8::text IS NULL OR k.presentity_uri = $8) AND ($9::text IS NULL OR split_part(k.presentity_uri, '@', -1) = $9)
    AND ($10::text IS NULL OR k.event = $10) AND ($11::int2 IS NULL OR k.status = $11)
    AND ($12::bool IS NULL OR k.by_hand = $12)
ORDER BY k.presentity_hash, k.presentity_uri, k.event, k.watcher_username, k.watcher_domain
LIMIT $13
"""
_SCANNED_TO = """
SELECT * FROM watchers AS a
WHERE (a.presentity_hash, a.presentity_uri, a.event, a.watcher_username, a.watcher_domain)
        > ($1::int4, $2::text COLLATE "C", $3::text COLLATE "C", $4::text, $5::text)
    AND ($7::int4 IS NULL OR a.presentity_hash = $7)
ORDER BY a.presentity_hash, a.presentity_uri, a.event, a.watcher_username, a.watcher_domain
OFFSET $6 LIMIT 1
"""


class DecisionStatus(StrEnum):
    """What becomes of a watcher."""

    ACTIVE = "active"
    PENDING = "pending"
    REJECTED = "rejected"


_STATUSES = {
    1: DecisionStatus.ACTIVE,
    2: DecisionStatus.PENDING,
    3: DecisionStatus.REJECTED,
    4: DecisionStatus.PENDING,
}
_NUMBERS = {DecisionStatus.ACTIVE: 1, DecisionStatus.PENDING: 2, DecisionStatus.REJECTED: 3}


class WatcherDecision(BaseModel):
    """What was decided about a watcher of a presentity."""

    presentity: str
    event: str
    watcher: str
    status: DecisionStatus
    reason: str = Field(description="polite-block: active, and shown somebody who is offline.")
    decided: datetime
    by_hand: bool = Field(description="By a person, whatever rules say; false: as the rules said last.")


class WatcherPage(Page[WatcherDecision]):
    """A page of decisions."""


class Deciding(BaseModel):
    """A decision of a person."""

    model_config = ConfigDict(extra="forbid")

    presentity: Annotated[str, Field(max_length=1024, pattern=NO_NUL)]
    event: Annotated[str, Field(max_length=128, pattern=NO_NUL)] = "presence"
    watcher: Annotated[str, Field(max_length=1024, pattern=NO_NUL, description="Like sip:bob@example.com.")]
    decision: Literal["approve", "polite-block", "confirm", "block", "reset"] = Field(
        description="approve: he sees what rules do not take away; polite-block: he sees somebody who is offline; "
        "confirm: he waits; block: he is not let in; reset: the rules decide again."
    )


class Decided(BaseModel):
    """What became of it."""

    presentity: str
    event: str
    watcher: str
    decision: str
    changed: bool = Field(description="Whether it was another one before.")


_HANDLINGS = {
    "approve": Handling.ALLOW,
    "polite-block": Handling.POLITE_BLOCK,
    "confirm": Handling.CONFIRM,
    "block": Handling.BLOCK,
    "reset": None,
}
_EXAMPLE = {
    "presentity": "sip:alice@example.com",
    "event": "presence",
    "watcher": "sip:bob@example.com",
    "status": "active",
    "reason": "",
    "decided": "2026-11-28T21:45:25Z",
    "by_hand": True,
}


def add_watchers(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/watchers",
        tag="watchers",
        role=Role.READER,
        errors=(422,),
        example={"items": [_EXAMPLE], "next": None},
    )
    async def list_watchers(
        caller: CallerDep,
        presentity: Text = None,
        domain: DomainFilter = None,
        event: EventFilter = None,
        status: Annotated[DecisionStatus | None, Query(description="Only those with this decision.")] = None,
        by_hand: Annotated[bool | None, Query(description="Only those decided by a person, or only others.")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> WatcherPage:
        """List what was decided about watchers; pending ones wait for a decision."""
        after = read_cursor("watchers", cursor, (SMALLEST_INT4, "", "", "", ""))
        aor = None if presentity is None else parts.aor_of(presentity, "query.presentity")
        if aor is not None:
            caller.must_see(aor)
        hash_ = None if aor is None else presentity_hash(aor)
        rows = await parts.database.fetch(
            _LIST,
            *after,
            SCANNED,
            hash_,
            aor,
            caller.domain_of(domain),
            event,
            None if status is None else _NUMBERS[status],
            by_hand,
            limit + 1,
        )
        shown, last = page_of(rows, limit)
        if last is None:
            scanned = await parts.database.fetch(_SCANNED_TO, *after, SCANNED - 1, hash_)
            last = scanned[0] if scanned else None
        names = ("presentity_hash", "presentity_uri", "event", "watcher_username", "watcher_domain")
        key = None if last is None else tuple(last[name] for name in names)
        return WatcherPage(items=[_view(row) for row in shown], next=write_cursor("watchers", key))

    @operations.add(
        "POST",
        "/watchers/decide",
        tag="watchers",
        role=Role.OPERATOR,
        errors=(422,),
        example={
            "presentity": "sip:alice@example.com",
            "event": "presence",
            "watcher": "sip:bob@example.com",
            "decision": "approve",
            "changed": True,
        },
    )
    async def decide_watcher(caller: CallerDep, asked: Deciding) -> Decided:
        """Approve or block a watcher, whatever rules say, or leave him to the rules again. He is told at once."""
        aor = user_of(parts.aor_of(asked.presentity, "body.presentity"), "body.presentity")
        caller.must_see(aor)
        event_of(asked.event, "body.event")
        watcher = user_of(parts.aor_of(asked.watcher, "body.watcher"), "body.watcher")
        handling = _HANDLINGS[asked.decision]
        detail = {"event": asked.event, "watcher": watcher, "decision": asked.decision}
        found = entry(caller, "decide_watcher", aor, domain=split_aor(aor)[1], detail=detail)

        async def work(connection: Connection) -> bool | None:
            whose = presentity(aor, asked.event)
            return await decide_by_hand(connection, whose, split_aor(watcher), handling) or None

        changed = await in_transaction(parts.database, found, work)
        if changed:
            await parts.ring()
        return Decided(
            presentity=aor, event=asked.event, watcher=watcher, decision=asked.decision, changed=bool(changed)
        )


def _view(row: asyncpg.Record) -> WatcherDecision:
    return WatcherDecision(
        presentity=row["presentity_uri"],
        event=row["event"],
        watcher=watcher_name(row),
        status=_STATUSES[row["status"]],
        reason=row["reason"],
        decided=row["inserted_time"],
        by_hand=row["by_hand"],
    )
