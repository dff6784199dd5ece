"""Publications: what presentities have published, as it is now."""

from datetime import datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Path, Response
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import Caller, CallerDep
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
from vedette.identity import parse_to_tag, presentity_hash, to_tag
from vedette.store.api_tokens import Role

ETAG = {"ETag": "The entity tag: for If-Match, and for SIP-If-Match."}

_COLUMNS_OF = """
SELECT p.presentity_hash, p.publication_id, p.presentity_uri, p.event, p.etag, p.content_type, p.expires,
    p.received_time, p.version, p.body
"""
_FILTERED = """
WHERE p.ended IS NULL AND p.expires > clock_timestamp()
    AND ($4::int4 IS NULL OR p.presentity_hash = $4) AND ($5::text IS NULL OR p.presentity_uri = $5)
    AND ($6::text IS NULL OR p.domain = $6) AND ($7::text IS NULL OR p.event = $7)
ORDER BY p.presentity_hash, p.publication_id
LIMIT $8
"""
_SOURCE = """
FROM (
    SELECT * FROM presentity AS a
    WHERE (a.presentity_hash, a.publication_id) > ($1::int4, $2::bytea)
    ORDER BY a.presentity_hash, a.publication_id
    LIMIT $3
) AS p
"""
_SOURCE_OF_ONE = """
FROM (
    SELECT * FROM presentity AS a
    WHERE a.presentity_hash = $4::int4 AND (a.presentity_hash, a.publication_id) > ($1::int4, $2::bytea)
    ORDER BY a.presentity_hash, a.publication_id
    LIMIT $3
) AS p
"""
_LIST = _COLUMNS_OF + _SOURCE + _FILTERED
_LIST_OF_ONE = _COLUMNS_OF + _SOURCE_OF_ONE + _FILTERED
_SCANNED_TO = """
SELECT a.presentity_hash, a.publication_id FROM presentity AS a
WHERE (a.presentity_hash, a.publication_id) > ($1::int4, $2::bytea)
ORDER BY a.presentity_hash, a.publication_id
OFFSET $3 LIMIT 1
"""
_ONE = (
    _COLUMNS_OF
    + """
FROM presentity AS p
WHERE p.presentity_hash = $1 AND p.publication_id = $2 AND p.ended IS NULL AND p.expires > clock_timestamp()
    AND p.granted > 0
"""
)

PublicationId = Annotated[str, Path(max_length=256, pattern=NO_NUL, description="The id of the publication.")]


class PublicationView(BaseModel):
    """One publication that is alive."""

    id: str = Field(description="The publication, as long as it lives.")
    etag: str = Field(description="Its entity tag (SIP-ETag), which each change and refresh replaces.")
    presentity: str
    event: str
    content_type: str
    expires: datetime
    received: datetime
    version: int = Field(description="The presentity's version that its body came with.")
    body: str


class PublicationPage(Page[PublicationView]):
    """A page of publications."""


def publication_example() -> dict[str, Any]:
    """A publication as the description shows one."""
    return {
        "id": "5f1c8a02.00112233445566778899aabbccddeeff",
        "etag": "00112233445566778899aabbccddeeff.1",
        "presentity": "sip:alice@example.com",
        "event": "presence",
        "content_type": "application/pidf+xml",
        "expires": "2026-11-28T22:45:25Z",
        "received": "2026-11-28T21:45:25Z",
        "version": 1764366325000042,
        "body": "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com">'
        '<tuple id="desk"><status><basic>open</basic></status></tuple></presence>',
    }


def add_publications(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/publications",
        tag="publications",
        role=Role.READER,
        errors=(422,),
        example={"items": [publication_example()], "next": None},
    )
    async def list_publications(
        caller: CallerDep,
        presentity: Text = None,
        domain: DomainFilter = None,
        event: EventFilter = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> PublicationPage:
        """List the publications that are alive."""
        hash_, after_id = read_cursor("publications", cursor, (SMALLEST_INT4, ""))
        after = (hash_, unhex(after_id))
        aor = None if presentity is None else parts.aor_of(presentity, "query.presentity")
        if aor is not None:
            caller.must_see(aor)
        rows = await parts.database.fetch(
            _LIST if aor is None else _LIST_OF_ONE,
            *after,
            SCANNED,
            None if aor is None else presentity_hash(aor),
            aor,
            caller.domain_of(domain),
            event,
            limit + 1,
        )
        shown, last = page_of(rows, limit)
        if last is None and aor is None:
            scanned = await parts.database.fetch(_SCANNED_TO, *after, SCANNED - 1)
            last = scanned[0] if scanned else None
        key = None if last is None else (last["presentity_hash"], last["publication_id"].hex())
        return PublicationPage(items=[publication_view(row) for row in shown], next=write_cursor("publications", key))

    @operations.add(
        "GET",
        "/publications/{id}",
        tag="publications",
        role=Role.READER,
        errors=(404, 422),
        example=publication_example(),
        headers=ETAG,
    )
    async def get_publication(caller: CallerDep, id: PublicationId, response: Response) -> PublicationView:  # noqa: A002
        """Show a publication."""
        row = await find_publication(parts, caller, id)
        response.headers["ETag"] = f'"{row["etag"]}"'
        return publication_view(row)


async def find_publication(parts: Parts, caller: Caller, id_: str) -> asyncpg.Record:
    """The publication with this id; RestError 404 where there is none that the caller sees."""
    named = parse_to_tag(id_) if id_.count(".") == 1 else None
    rows = [] if named is None else await parts.database.fetch(_ONE, *named)
    if not rows or not caller.sees(rows[0]["presentity_uri"]):
        raise RestError(404, "there is no publication with this id that is alive", where="path.id")
    return rows[0]


def publication_view(row: asyncpg.Record) -> PublicationView:
    """The publication in a row."""
    return PublicationView(
        id=to_tag("", row["presentity_hash"], row["publication_id"]),
        etag=row["etag"],
        presentity=row["presentity_uri"],
        event=row["event"],
        content_type=row["content_type"],
        expires=row["expires"],
        received=row["received_time"],
        version=row["version"],
        body=row["body"].decode("utf-8", "replace"),
    )
