"""Idempotency-Key: a request that is repeated with the same key has one effect and one answer, for a day."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header, Response
from fastapi.responses import JSONResponse

from presence_core.adapters.rest.access import Caller
from presence_core.adapters.rest.problems import RestError
from vedette.store.database import Database

KEPT = timedelta(days=1)

_RESERVE = """
INSERT INTO rest_answer AS a (owner, key, fingerprint) VALUES ($1, $2, $3)
ON CONFLICT (owner, key) DO UPDATE
SET fingerprint = CASE WHEN a.created < clock_timestamp() - $4::interval THEN excluded.fingerprint
        ELSE a.fingerprint END,
    status = CASE WHEN a.created < clock_timestamp() - $4::interval THEN NULL ELSE a.status END,
    answer = CASE WHEN a.created < clock_timestamp() - $4::interval THEN NULL ELSE a.answer END,
    created = CASE WHEN a.created < clock_timestamp() - $4::interval THEN clock_timestamp() ELSE a.created END
RETURNING fingerprint, status, answer
"""
_KEEP = "UPDATE rest_answer SET status = $3, answer = $4::jsonb WHERE owner = $1 AND key = $2"
_FREE = "DELETE FROM rest_answer WHERE owner = $1 AND key = $2 AND status IS NULL"
_FORGET = """
DELETE FROM rest_answer WHERE (owner, key) IN (
    SELECT owner, key FROM rest_answer WHERE created < clock_timestamp() - $1::interval ORDER BY created LIMIT $2
)
RETURNING 1
"""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="Repeated with the same key within a day, the request has one effect and one answer.",
    ),
]


@dataclass(frozen=True, slots=True)
class Done:
    """An answer that can be kept."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] | None

    def response(self, *, replayed: bool = False) -> Response:
        """As it is sent."""
        headers = {**self.headers, **({"Idempotency-Replayed": "true"} if replayed else {})}
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        return JSONResponse(self.body, status_code=self.status, headers=headers)


async def once(
    database: Database,
    caller: Caller,
    key: str | None,
    request: tuple[object, ...],
    work: Callable[[], Awaitable[Done]],
) -> Response:
    """The answer of the work, or the one that the same request got before.

    Two at the same time both do the work, which meets itself: what a core is asked for has the key in its own key.
    What was refused is not kept. Raises RestError 422 where the key was used for something else.
    """
    if key is None:
        return (await work()).response()
    owner = caller.token_id or ""
    fingerprint = hashlib.sha256(json.dumps(request, default=_text).encode()).digest()
    rows = await database.fetch(_RESERVE, owner, key, fingerprint, KEPT)
    if bytes(rows[0]["fingerprint"]) != fingerprint:
        raise RestError(
            422,
            "this Idempotency-Key was used for another request",
            where="header.idempotency-key",
            remedy="Take a new key for each request, and the same one only to repeat it unchanged.",
        )
    if rows[0]["status"] is not None:
        kept = json.loads(rows[0]["answer"])
        return Done(rows[0]["status"], kept["headers"], kept["body"]).response(replayed=True)
    try:
        done = await work()
    except RestError as error:
        if error.problem.status < 500:
            await database.fetch(_FREE, owner, key)
        raise
    answer = json.dumps({"headers": dict(done.headers), "body": done.body})
    await database.fetch(_KEEP, owner, key, done.status, answer)
    return done.response()


async def forget_old_answers(database: Database, limit: int) -> int:
    """Delete so many answers at most whose day is over; how many. Raises StoreError."""
    return len(await database.fetch(_FORGET, KEPT, limit))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
