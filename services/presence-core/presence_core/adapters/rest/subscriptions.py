"""Subscriptions: the dialogs, what was sent in them, and what can be done with them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import asyncpg
from fastapi import Path, Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.names import DomainFilter, EventFilter, Text
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
    unhex,
    write_cursor,
)
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.identity import parse_to_tag, presentity_hash
from vedette.records import read_flow
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role

STATUS_NAMES = {1: "active", 2: "pending", 3: "terminated", 4: "waiting"}

_SHOWN = """
SELECT w.*, coalesce(d.local_cseq, 0) AS local_cseq, coalesce(d.sent_version, 0) AS sent_version,
    d.outstanding_cseq IS NOT NULL AS outstanding, coalesce(d.failures, 0) AS failures, d.not_before,
    d.last_status, d.last_answered,
    coalesce(s.version, 0) AS presentity_version
"""
_JOINED = """
LEFT JOIN delivery AS d USING (presentity_hash, dialog_id)
LEFT JOIN presentity_state AS s
    ON s.presentity_hash = w.presentity_hash AND s.presentity_uri = w.presentity_uri AND s.event = w.event
"""
_FILTERED = """
WHERE w.ended IS NULL
    AND ($4::int4 IS NULL OR w.presentity_hash = $4) AND ($5::text IS NULL OR w.presentity_uri = $5)
    AND ($6::text IS NULL OR (w.watcher_username = $6 AND w.watcher_domain = $7::text))
    AND ($8::text IS NULL OR split_part(w.presentity_uri, '@', -1) = $8)
    AND ($9::text IS NULL OR w.event = $9) AND ($10::int2 IS NULL OR w.status = $10)
    AND ($11::text IS NULL OR w.edge_instance = $11)
    AND ($12::float8 IS NULL OR w.created <= clock_timestamp() - make_interval(secs => $12))
    AND ($13::float8 IS NULL OR w.created >= clock_timestamp() - make_interval(secs => $13))
ORDER BY w.presentity_hash, w.dialog_id
LIMIT $14
"""


def _searching(source: str, condition: str) -> str:
    return _SHOWN + source + _JOINED + condition


# Each search begins with its own index; which one it is follows from the parameters that were named.
_ALL = _searching(
    """
FROM (
    SELECT *
    FROM active_watchers AS a
    WHERE (a.presentity_hash, a.dialog_id) > ($1::int4, $2::bytea)
    ORDER BY a.presentity_hash, a.dialog_id
    LIMIT $3
) AS w
""",
    _FILTERED,
)
_OF_PRESENTITY = _searching(
    """
FROM (
    SELECT *
    FROM active_watchers AS a
    WHERE a.presentity_hash = $4::int4 AND (a.presentity_hash, a.dialog_id) > ($1::int4, $2::bytea)
    ORDER BY a.presentity_hash, a.dialog_id
    LIMIT $3
) AS w
""",
    _FILTERED,
)
_OF_WATCHER = _searching(
    """
FROM (
    SELECT *
    FROM (
        -- OFFSET 0: the search is by the watcher alone, whatever else is asked of the rows.
        SELECT * FROM active_watchers AS b WHERE b.watcher_username = $6 AND b.watcher_domain = $7 OFFSET 0
    ) AS a
    WHERE (a.presentity_hash, a.dialog_id) > ($1::int4, $2::bytea)
    ORDER BY a.presentity_hash, a.dialog_id
    LIMIT $3
) AS w
""",
    _FILTERED,
)
_SCANNED_TO = """
SELECT a.presentity_hash, a.dialog_id
FROM active_watchers AS a
WHERE (a.presentity_hash, a.dialog_id) > ($1::int4, $2::bytea)
ORDER BY a.presentity_hash, a.dialog_id
OFFSET $3 LIMIT 1
"""
_ONE = _searching(
    "FROM active_watchers AS w", "WHERE w.presentity_hash = $1 AND w.dialog_id = $2 AND w.ended IS NULL"
)

SubscriptionId = Annotated[
    str, Path(max_length=256, pattern=NO_NUL, description="The id of the subscription: the dialog's To-tag.")
]
Age = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]


class Status(StrEnum):
    """What a subscription may be, as long as it is shown."""

    ACTIVE = "active"
    PENDING = "pending"
    WAITING = "waiting"


class SubscriptionView(BaseModel):
    """A subscription dialog."""

    id: str = Field(description="The dialog's To-tag.")
    presentity: str
    event: str
    event_id: str
    watcher: str
    status: Status
    reason: str
    expires: datetime
    created: datetime
    call_id: str
    from_tag: str
    contact: str
    transport: str
    source: str = Field(description="Where the last SUBSCRIBE came from.")
    edge: str = Field(description="The instance of sip-edge that reaches it; empty: none does, until it subscribes.")
    user_agent: str
    notify_cseq: int = Field(description="CSeq of the last NOTIFY.")
    notify_version: int = Field(description="The presentity's version that the last NOTIFY carried.")
    notify_answer: str | None = Field(
        description="How the last NOTIFY that is over was answered: the status code, or timeout, unreachable, or "
        "connection gone; null: none is over yet.",
        examples=["200"],
    )
    notify_answered: datetime | None = Field(description="When.")
    notify_outstanding: bool = Field(description="Whether the last NOTIFY has no answer yet.")
    notify_failures: int = Field(description="NOTIFYs in a row without an answer.")
    notify_not_before: datetime | None = Field(description="Until when its watcher is left alone.")
    presentity_version: int


class SubscriptionPage(Page[SubscriptionView]):
    """A page of subscriptions."""

    of_last_flush: bool = Field(description="Whether these are of the last db_update_period (fallback2db=0).")


class SubscriptionDetail(SubscriptionView):
    """One subscription."""

    of_last_flush: bool = Field(description="Whether this is of the last db_update_period (fallback2db=0).")


def subscription_example() -> dict[str, object]:
    """A subscription as the description shows one."""
    return {
        "id": "10.5f1c8a02.0123456789abcdef0123456789abcdef",
        "presentity": "sip:alice@example.com",
        "event": "presence",
        "event_id": "",
        "watcher": "sip:bob@example.com",
        "status": "active",
        "reason": "",
        "expires": "2026-11-28T22:45:25Z",
        "created": "2026-11-28T21:45:25Z",
        "call_id": "3848276298220188511",
        "from_tag": "31415",
        "contact": "sip:bob@192.0.2.7:5060",
        "transport": "udp",
        "source": "192.0.2.7:5060",
        "edge": "7f3a9c2b41d0",
        "user_agent": "phone/1.0",
        "notify_cseq": 3,
        "notify_version": 1764366325000042,
        "notify_answer": "200",
        "notify_answered": "2026-11-28T21:50:25Z",
        "notify_outstanding": False,
        "notify_failures": 0,
        "notify_not_before": None,
        "presentity_version": 1764366325000042,
    }


def add_subscriptions(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/subscriptions",
        tag="subscriptions",
        role=Role.READER,
        errors=(422,),
        example={"items": [subscription_example()], "next": None, "of_last_flush": False},
    )
    async def list_subscriptions(
        caller: CallerDep,
        presentity: Text = None,
        watcher: Text = None,
        domain: DomainFilter = None,
        event: EventFilter = None,
        status: Annotated[Status | None, Query(description="Only those with this status.")] = None,
        edge: Annotated[
            str | None, Query(max_length=128, pattern=NO_NUL, description="Only those of this instance of sip-edge.")
        ] = None,
        min_age: Annotated[Age, Query(description="Only those that began so many seconds ago or more.")] = None,
        max_age: Annotated[Age, Query(description="Only those that began so many seconds ago or less.")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> SubscriptionPage:
        """List the live subscriptions."""
        hash_, after_id = read_cursor("subscriptions", cursor, (SMALLEST_INT4, ""))
        after = (hash_, unhex(after_id))
        aor = None if presentity is None else parts.aor_of(presentity, "query.presentity")
        if aor is not None:
            caller.must_see(aor)
        who = (None, None) if watcher is None else split_aor(parts.aor_of(watcher, "query.watcher"))
        current = await parts.know_dialogs()
        query = _OF_PRESENTITY if aor is not None else _OF_WATCHER if watcher is not None else _ALL
        rows = await parts.database.fetch(
            query,
            *after,
            SCANNED,
            None if aor is None else presentity_hash(aor),
            aor,
            *who,
            caller.domain_of(domain),
            event,
            None if status is None else _NUMBERS[status],
            edge,
            min_age,
            max_age,
            limit + 1,
        )
        shown, last = page_of(rows, limit)
        if last is None and query is _ALL:
            scanned = await parts.database.fetch(_SCANNED_TO, *after, SCANNED - 1)
            last = scanned[0] if scanned else None
        key = None if last is None else (last["presentity_hash"], last["dialog_id"].hex())
        return SubscriptionPage(
            items=[subscription_view(row) for row in shown],
            next=write_cursor("subscriptions", key),
            of_last_flush=not current,
        )

    @operations.add(
        "GET",
        "/subscriptions/{id}",
        tag="subscriptions",
        role=Role.READER,
        errors=(404, 422),
        example={**subscription_example(), "of_last_flush": False},
    )
    async def get_subscription(caller: CallerDep, id: SubscriptionId) -> SubscriptionDetail:  # noqa: A002
        """Show a subscription: its dialog, and what was sent in it."""
        current = await parts.know_dialogs()
        row = await find_subscription(parts, caller, id)
        return SubscriptionDetail(**subscription_view(row).model_dump(), of_last_flush=not current)


async def find_subscription(parts: Parts, caller: CallerDep, id_: str) -> asyncpg.Record:
    """The live dialog with this id; RestError 404 where there is none, or none that the caller sees."""
    named = parse_to_tag(id_)
    rows = [] if named is None else await parts.database.fetch(_ONE, *named)
    if not rows or not caller.sees(rows[0]["presentity_uri"]):
        raise RestError(404, "there is no live subscription with this id", where="path.id")
    return rows[0]


def watcher_name(row: asyncpg.Record) -> str:
    """The watcher's address-of-record."""
    user = row["watcher_username"]
    return f"sip:{user}@{row['watcher_domain']}" if user else f"sip:{row['watcher_domain']}"


_ANSWERS = {TIMEOUT: "timeout", UNREACHABLE: "unreachable", FLOW_GONE: "connection gone"}
_NUMBERS = {name: number for number, name in STATUS_NAMES.items()}


def subscription_view(row: asyncpg.Record) -> SubscriptionView:
    """A row of `find_subscription`."""
    flow = read_flow(row["socket_info"])
    return SubscriptionView(
        id=row["to_tag"],
        presentity=row["presentity_uri"],
        event=row["event"],
        event_id=row["event_id"],
        watcher=watcher_name(row),
        status=Status(STATUS_NAMES[row["status"]]),
        reason=row["reason"],
        expires=row["expires"],
        created=row["created"],
        call_id=row["callid"],
        from_tag=row["from_tag"],
        contact=row["contact"],
        transport=flow.transport,
        source=f"{flow.host}:{flow.port}",
        edge=row["edge_instance"],
        user_agent=row["user_agent"],
        notify_cseq=row["local_cseq"],
        notify_version=row["sent_version"],
        notify_answer=None
        if row["last_status"] is None
        else _ANSWERS.get(row["last_status"], str(row["last_status"])),
        notify_answered=row["last_answered"],
        notify_outstanding=row["outstanding"],
        notify_failures=row["failures"],
        notify_not_before=row["not_before"],
        presentity_version=row["presentity_version"],
    )
