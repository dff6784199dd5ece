"""Webhooks: who is told by HTTP of what happens, and what could not be delivered."""

import json
import secrets
from datetime import datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL, Cursor, Limit, Page, page_of, read_cursor, write_cursor
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.webhook_targets import fault_of
from vedette.live import Kind
from vedette.store.api_tokens import Role

MOST = 100
"""Webhooks."""

_SHOWN = """
SELECT h.*,
    (SELECT count(*) FROM webhook_delivery AS d WHERE d.webhook_id = h.id AND d.dead IS NULL) AS waiting,
    (SELECT count(*) FROM webhook_delivery AS d WHERE d.webhook_id = h.id AND d.dead IS NOT NULL) AS dead_letters
FROM webhook AS h WHERE $1::text IS NULL OR h.id = $1 ORDER BY h.created, h.id
"""
_LETTERS = """
SELECT d.id, d.payload, d.created, d.dead, d.attempts, d.error FROM webhook_delivery AS d
WHERE d.webhook_id = $1 AND d.dead IS NOT NULL AND d.id > $2 ORDER BY d.id LIMIT $3
"""
_RETRY = """
UPDATE webhook_delivery SET dead = NULL, attempts = 0, due = clock_timestamp()
WHERE webhook_id = $1 AND dead IS NOT NULL AND ($2::int8 IS NULL OR id = $2) RETURNING id
"""
_FORGET = """
DELETE FROM webhook_delivery
WHERE webhook_id = $1 AND dead IS NOT NULL AND ($2::int8 IS NULL OR id = $2) RETURNING id
"""

WebhookId = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="The id of the webhook.")]
LetterId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number of the delivery.")]
Filter = Annotated[str, Field(max_length=1024, pattern=NO_NUL)]


class WebhookRequest(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2000, pattern=NO_NUL)]
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=3)] = Field(
        default=["publication", "subscription"], description="What it is told of."
    )
    presentity: Filter | None = Field(None, description="Only this one, like sip:alice@example.com.")
    event: Filter | None = Field(None, description="Only this event.")
    domain: Filter | None = Field(None, description="Only presentities of this domain.")


class WebhookView(BaseModel):
    """A webhook, without what is secret of it."""

    id: str
    url: str
    kinds: list[Kind]
    presentity: str | None
    event: str | None
    domain: str | None
    created: datetime
    waiting: int = Field(description="Deliveries that have yet to be made.")
    dead_letters: int


class NewWebhookView(WebhookView):
    """A webhook that was just made."""

    secret: str = Field(description="The key of Vedette-Signature. It is shown this once.")


class WebhookList(BaseModel):
    """All webhooks, the oldest first."""

    items: list[WebhookView]


class DeadLetter(BaseModel):
    """What could not be delivered."""

    id: int
    created: datetime
    dead: datetime
    attempts: int
    error: str | None
    payload: dict[str, Any]


class DeadLetterPage(Page[DeadLetter]):
    """A page of dead letters, the oldest first."""


class Changed(BaseModel):
    """How many deliveries it was done to."""

    deliveries: int


_WEBHOOK = {
    "id": "wh_0123456789abcdef",
    "url": "https://hooks.example.com/presence",
    "kinds": ["publication", "subscription"],
    "presentity": None,
    "event": "presence",
    "domain": "example.com",
    "created": "2026-11-28T21:45:25Z",
    "waiting": 0,
    "dead_letters": 0,
}
_LETTER = {
    "id": 7,
    "created": "2026-11-28T21:45:25Z",
    "dead": "2026-11-28T22:05:25Z",
    "attempts": 8,
    "error": "answered 500",
    "payload": {
        "kind": "publication",
        "what": "modified",
        "time": "2026-11-28T21:45:25.204113Z",
        "presentity": "sip:alice@example.com",
        "event": "presence",
        "id": "5f1c8a02.0123456789abcdef0123456789abcdef",
        "expires_in": 600,
        "version": 1795902325204113,
    },
}


def add_webhooks(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET", "/webhooks", tag="webhooks", role=Role.ADMIN, whole_system=True, example={"items": [_WEBHOOK]}
    )
    async def list_webhooks() -> WebhookList:
        """List the webhooks."""
        return WebhookList(items=[_view(row) for row in await parts.database.fetch(_SHOWN, None)])

    @operations.add(
        "POST",
        "/webhooks",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        status=201,
        errors=(409, 422),
        example={**_WEBHOOK, "secret": "whs_" + "x" * 43},
    )
    async def create_webhook(caller: CallerDep, asked: WebhookRequest) -> NewWebhookView:
        """Have what happens told to a URL, from now on."""
        return await _create(parts, caller, asked)

    @operations.add(
        "GET",
        "/webhooks/{id}",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example=_WEBHOOK,
    )
    async def get_webhook(id: WebhookId) -> WebhookView:  # noqa: A002
        """Show a webhook, and how much it has yet to be told."""
        return await _find(parts, id)

    @operations.add(
        "DELETE",
        "/webhooks/{id}",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example=_WEBHOOK,
    )
    async def delete_webhook(caller: CallerDep, id: WebhookId) -> WebhookView:  # noqa: A002
        """Remove a webhook, with all that it has yet to be told and its dead letters."""

        async def work(connection: Connection) -> asyncpg.Record | None:
            await connection.execute("LOCK TABLE webhook IN SHARE ROW EXCLUSIVE MODE")
            row = await connection.fetchrow(_SHOWN, id)
            if row is not None:
                await connection.execute("DELETE FROM webhook WHERE id = $1", id)
                await connection.execute("SELECT webhook_watch_v1()")
            return row

        row = await in_transaction(parts.database, entry(caller, "delete_webhook", id, domain=None), work)
        if row is None:
            raise _missing()
        return _view(row)


def add_dead_letters(operations: Operations, parts: Parts) -> None:
    """Add the operations on what could not be delivered."""

    @operations.add(
        "GET",
        "/webhooks/{id}/dead-letters",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example={"items": [_LETTER], "next": None},
    )
    async def list_dead_letters(id: WebhookId, cursor: Cursor = None, limit: Limit = 50) -> DeadLetterPage:  # noqa: A002
        """List what could not be delivered, the oldest first."""
        await _find(parts, id)
        (after,) = read_cursor("dead-letters", cursor, (0,))
        shown, last = page_of(await parts.database.fetch(_LETTERS, id, after, limit + 1), limit)
        items = [DeadLetter(**{**row, "payload": json.loads(row["payload"])}) for row in shown]
        return DeadLetterPage(items=items, next=write_cursor("dead-letters", None if last is None else (last["id"],)))

    @operations.add(
        "POST",
        "/webhooks/{id}/dead-letters/retry",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example={"deliveries": 12},
    )
    async def retry_dead_letters(caller: CallerDep, id: WebhookId) -> Changed:  # noqa: A002
        """Have all dead letters of a webhook delivered again."""
        return await _change(parts, caller, "retry_dead_letters", _RETRY, id, None)

    @operations.add(
        "POST",
        "/webhooks/{id}/dead-letters/{letter}/retry",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example={"deliveries": 1},
    )
    async def retry_dead_letter(caller: CallerDep, id: WebhookId, letter: LetterId) -> Changed:  # noqa: A002
        """Have a dead letter delivered again."""
        return await _change(parts, caller, "retry_dead_letter", _RETRY, id, letter)

    @operations.add(
        "DELETE",
        "/webhooks/{id}/dead-letters/{letter}",
        tag="webhooks",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example={"deliveries": 1},
    )
    async def delete_dead_letter(caller: CallerDep, id: WebhookId, letter: LetterId) -> Changed:  # noqa: A002
        """Forget a dead letter."""
        return await _change(parts, caller, "delete_dead_letter", _FORGET, id, letter)


async def _create(parts: Parts, caller: Caller, asked: WebhookRequest) -> NewWebhookView:
    fault = fault_of(asked.url, private=parts.webhooks.private)
    if fault is not None:
        raise RestError(422, f"url: {fault}", where="body.url")
    presentity = None if asked.presentity is None else parts.aor_of(asked.presentity, "body.presentity")
    domain = None if asked.domain is None else asked.domain.lower().rstrip(".")
    id_, secret = f"wh_{secrets.token_hex(8)}", f"whs_{secrets.token_urlsafe(32)}"
    kinds = list(dict.fromkeys(asked.kinds))

    async def work(connection: Connection) -> asyncpg.Record | None:
        await connection.execute("LOCK TABLE webhook IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT count(*) FROM webhook") >= MOST:
            return None
        await connection.execute(
            "INSERT INTO webhook (id, url, kinds, presentity, event, domain, secret, max_waiting) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            *(id_, asked.url, kinds, presentity, asked.event, domain, secret, parts.webhooks.max_waiting),
        )
        await connection.execute("SELECT webhook_watch_v1()")
        return await connection.fetchrow(_SHOWN, id_)

    detail = {"url": asked.url, "kinds": kinds, "presentity": presentity, "event": asked.event}
    row = await in_transaction(
        parts.database, entry(caller, "create_webhook", id_, domain=None, detail=detail), work, status=201
    )
    if row is None:
        raise RestError(409, f"there are {MOST} webhooks already, and no more may be")
    return NewWebhookView(**_view(row).model_dump(), secret=secret)


async def _change(
    parts: Parts, caller: CallerDep, name: str, query: str, webhook: str, letter: int | None
) -> Changed:
    async def work(connection: Connection) -> list[asyncpg.Record] | None:
        return list(await connection.fetch(query, webhook, letter)) or None

    found = entry(caller, name, webhook, domain=None, detail={"delivery": letter})
    rows = await in_transaction(parts.database, found, work)
    if rows is None:
        await _find(parts, webhook)
        if letter is not None:
            raise RestError(404, "there is no dead letter with this number", where="path.letter")
    return Changed(deliveries=len(rows or ()))


def _missing() -> RestError:
    return RestError(404, "there is no webhook with this id", where="path.id")


async def _find(parts: Parts, id_: str) -> WebhookView:
    rows = await parts.database.fetch(_SHOWN, id_)
    if not rows:
        raise _missing()
    return _view(rows[0])


def _view(row: asyncpg.Record) -> WebhookView:
    return WebhookView(**{name: row[name] for name in WebhookView.model_fields})
