"""The audit log: who changed what, and when."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.names import DomainFilter
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import (
    NO_NUL,
    SCANNED,
    Cursor,
    Limit,
    Page,
    page_of,
    read_cursor,
    write_cursor,
)
from presence_core.adapters.rest.parts import Parts
from vedette.store.api_tokens import Role

NEWEST = 2**63 - 1

_LIST = """
SELECT *
FROM (SELECT * FROM audit AS a WHERE a.id < $1::int8 ORDER BY a.id DESC LIMIT $2) AS a
WHERE ($3::text IS NULL OR a.domain = $3) AND ($4::text IS NULL OR a.actor = $4)
    AND ($5::text IS NULL OR a.operation = $5) AND ($6::text IS NULL OR a.target = $6)
    AND ($7::timestamptz IS NULL OR a.at >= $7) AND ($8::timestamptz IS NULL OR a.at < $8)
ORDER BY a.id DESC
LIMIT $9
"""
_SCANNED_TO = "SELECT a.id FROM audit AS a WHERE a.id < $1::int8 ORDER BY a.id DESC OFFSET $2 LIMIT 1"

Filter = Annotated[str | None, Query(max_length=512, pattern=NO_NUL)]
Moment = Annotated[datetime | None, Query(description="With its time zone, like 2026-11-28T21:45:25Z.")]


class AuditView(BaseModel):
    """One change."""

    id: int
    at: datetime
    actor: str = Field(description="The token's name; anonymous without one; command for the command vedette.")
    token_id: str | None
    source: str = Field(description="The address that the request came from, or the user of the command.")
    operation: str
    target: str
    domain: str | None
    detail: dict[str, Any]
    status: int | None = Field(description="How it was answered; null: it is not known what became of it.")


class AuditPage(Page[AuditView]):
    """A page of the log, the newest first."""


_EXAMPLE = {
    "id": 42,
    "at": "2026-11-28T21:45:25Z",
    "actor": "helpdesk",
    "token_id": "0123456789ab",
    "source": "192.0.2.7",
    "operation": "terminate_subscription",
    "target": "10.5f1c8a02.0123456789abcdef0123456789abcdef",
    "domain": "example.com",
    "detail": {"presentity": "sip:alice@example.com", "event": "presence", "reason": "deactivated"},
    "status": 200,
}


def add_audit_log(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    @operations.add(
        "GET", "/audit", tag="system", role=Role.ADMIN, errors=(422,), example={"items": [_EXAMPLE], "next": None}
    )
    async def list_audit(
        caller: CallerDep,
        actor: Filter = None,
        operation: Filter = None,
        target: Filter = None,
        since: Moment = None,
        until: Moment = None,
        domain: DomainFilter = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> AuditPage:
        """List the changes that were asked for, the newest first."""
        (before,) = read_cursor("audit", cursor, (NEWEST,))
        filters = (caller.domain_of(domain), actor, operation, target, _in_utc(since), _in_utc(until))
        rows = await parts.database.fetch(_LIST, before, SCANNED, *filters, limit + 1)
        shown, last = page_of(rows, limit)
        if last is None and any(found is not None for found in filters):
            scanned = await parts.database.fetch(_SCANNED_TO, before, SCANNED - 1)
            last = scanned[0] if scanned else None
        key = None if last is None else (last["id"],)
        return AuditPage(items=[_view(row) for row in shown], next=write_cursor("audit", key))


def _in_utc(moment: datetime | None) -> datetime | None:
    """The moment; one without a time zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _view(row: asyncpg.Record) -> AuditView:
    return AuditView(**{**row, "detail": json.loads(row["detail"])})
