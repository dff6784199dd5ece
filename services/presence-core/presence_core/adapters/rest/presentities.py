"""Presentities: who has published something or is watched, and what watchers see."""

from datetime import datetime
from typing import Annotated

import asyncpg
from fastapi import Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.names import DomainFilter, EventFilter, EventName, UriInPath
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
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.rest.publications import PublicationView, publication_example, publication_view
from presence_core.adapters.rest.subscriptions import STATUS_NAMES, watcher_name
from vedette.events.package import Preferences, Publication, WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.identity import presentity_hash
from vedette.store.api_tokens import Role

MOST_WATCHERS = 500
MOST_PUBLICATIONS = 1000

_LIST = """
SELECT s.presentity_hash, s.presentity_uri, s.event, s.version,
    (SELECT count(*) FROM presentity AS p
     WHERE p.presentity_hash = s.presentity_hash AND p.presentity_uri = s.presentity_uri AND p.event = s.event
        AND p.ended IS NULL AND p.expires > clock_timestamp()) AS publications,
    (SELECT count(*) FROM active_watchers AS w
     WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri AND w.event = s.event
        AND w.ended IS NULL) AS subscriptions
FROM (
    SELECT *
    FROM presentity_state AS a
    WHERE (a.presentity_hash, a.presentity_uri, a.event) > ($1::int4, $2::text COLLATE "C", $3::text COLLATE "C")
    ORDER BY a.presentity_hash, a.presentity_uri, a.event
    LIMIT $4
) AS s
WHERE ($5::text IS NULL OR starts_with(s.presentity_uri, $5))
    AND ($6::text IS NULL OR strpos(s.presentity_uri, $6) > 0)
    AND ($7::text IS NULL OR split_part(s.presentity_uri, '@', -1) = $7)
    AND ($8::text IS NULL OR s.event = $8)
ORDER BY s.presentity_hash, s.presentity_uri, s.event
LIMIT $9
"""
_SCANNED_TO = """
SELECT a.presentity_hash, a.presentity_uri, a.event
FROM presentity_state AS a
WHERE (a.presentity_hash, a.presentity_uri, a.event) > ($1::int4, $2::text COLLATE "C", $3::text COLLATE "C")
ORDER BY a.presentity_hash, a.presentity_uri, a.event
OFFSET $4 LIMIT 1
"""
_ONE = """
SELECT s.presentity_hash, s.presentity_uri, s.event, s.version,
    (SELECT count(*) FROM active_watchers AS w
     WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri AND w.event = s.event
        AND w.ended IS NULL) AS subscriptions
FROM presentity_state AS s
WHERE s.presentity_hash = $1 AND s.presentity_uri = $2 AND s.event = $3
"""
_PUBLICATIONS = """
SELECT presentity_hash, publication_id, presentity_uri, event, etag, content_type, expires, received_time, version,
    body
FROM presentity
WHERE presentity_hash = $1 AND presentity_uri = $2 AND event = $3 AND ended IS NULL AND expires > clock_timestamp()
ORDER BY version DESC
LIMIT $4
"""
_WATCHERS = """
SELECT to_tag, watcher_username, watcher_domain, status, expires
FROM active_watchers
WHERE presentity_hash = $1 AND presentity_uri = $2 AND event = $3 AND ended IS NULL
ORDER BY dialog_id
LIMIT $4
"""


class PresentitySummary(BaseModel):
    """A resource with its state for one event package."""

    uri: str
    event: str
    version: int = Field(description="Rises with each change of its state.")
    publications: int
    subscriptions: int


class PresentityPage(Page[PresentitySummary]):
    """A page of presentities."""

    of_last_flush: bool = Field(
        description="Whether the numbers of subscriptions are those of the last db_update_period (fallback2db=0)."
    )


class WatcherSummary(BaseModel):
    """Somebody who watches a presentity."""

    subscription: str = Field(description="The id of the subscription.")
    watcher: str
    status: str
    expires: datetime


class PresentityView(PresentitySummary):
    """A presentity in full."""

    publication_list: list[PublicationView]
    document: str = Field(description="What watchers get, composed from the publications.")
    document_type: str
    watchers: list[WatcherSummary] = Field(description=f"The first {MOST_WATCHERS}; all: the list of subscriptions.")
    of_last_flush: bool = Field(
        description="Whether the watchers are those of the last db_update_period (fallback2db=0)."
    )


_SUMMARY = {
    "uri": "sip:alice@example.com",
    "event": "presence",
    "version": 1764366325000042,
    "publications": 1,
    "subscriptions": 1,
}


def add_presentities(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/presentities",
        tag="presentities",
        role=Role.READER,
        errors=(422,),
        example={"items": [_SUMMARY], "next": None, "of_last_flush": False},
    )
    async def list_presentities(
        caller: CallerDep,
        prefix: Annotated[
            str | None, Query(max_length=512, pattern=NO_NUL, description="How the URI begins, like sip:ali.")
        ] = None,
        search: Annotated[str | None, Query(max_length=512, pattern=NO_NUL, description="A part of the URI.")] = None,
        domain: DomainFilter = None,
        event: EventFilter = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> PresentityPage:
        """List the presentities that have a publication or a subscription."""
        after = read_cursor("presentities", cursor, (SMALLEST_INT4, "", ""))
        domain = caller.domain_of(domain)
        current = await parts.know_dialogs()
        rows = await parts.database.fetch(_LIST, *after, SCANNED, prefix, search, domain, event, limit + 1)
        shown, last = page_of(rows, limit)
        if last is None and (prefix or search or domain or event):
            scanned = await parts.database.fetch(_SCANNED_TO, *after, SCANNED - 1)
            last = scanned[0] if scanned else None
        key = None if last is None else (last["presentity_hash"], last["presentity_uri"], last["event"])
        return PresentityPage(
            items=[_summary(row, row["publications"]) for row in shown],
            next=write_cursor("presentities", key),
            of_last_flush=not current,
        )

    @operations.add(
        "GET",
        "/presentities/{uri:path}",
        tag="presentities",
        role=Role.READER,
        errors=(404, 422),
        example={
            **_SUMMARY,
            "publication_list": [publication_example()],
            "document": publication_example()["body"],
            "document_type": "application/pidf+xml",
            "watchers": [
                {
                    "subscription": "10.5f1c8a02.0123456789abcdef0123456789abcdef",
                    "watcher": "sip:bob@example.com",
                    "status": "active",
                    "expires": "2026-11-28T22:45:25Z",
                }
            ],
            "of_last_flush": False,
        },
    )
    async def get_presentity(caller: CallerDep, uri: UriInPath, event: EventName = "presence") -> PresentityView:
        """Show a presentity: its publications, the document that watchers get, and who they are."""
        aor = parts.aor_of(uri, "path.uri")
        caller.must_see(aor)
        hash_ = presentity_hash(aor)
        current = await parts.know_dialogs()
        rows = await parts.database.fetch(_ONE, hash_, aor, event)
        package = PACKAGES.get(event)
        if not rows or package is None:
            raise RestError(404, f"nothing is known of {aor} for the event {event}", where="path.uri")
        if isinstance(package, WatcherInfoPackage):
            raise RestError(
                404,
                f"{event} has no document of its own",
                where="query.event",
                remedy=f"Look at the subscriptions to {package.base}.",
            )
        publications = await parts.database.fetch(_PUBLICATIONS, hash_, aor, event, MOST_PUBLICATIONS)
        watchers = await parts.database.fetch(_WATCHERS, hash_, aor, event, MOST_WATCHERS)
        media_type = package.notify_types[0]
        document = package.compose(
            aor,
            [Publication(p["publication_id"], p["content_type"], p["body"]) for p in publications],
            media_type,
            Preferences(),
        ).with_version(0)
        return PresentityView(
            **_summary(rows[0], len(publications)).model_dump(),
            publication_list=[publication_view(p) for p in publications],
            document=document.decode("utf-8", "replace"),
            document_type=media_type,
            watchers=[
                WatcherSummary(
                    subscription=row["to_tag"],
                    watcher=watcher_name(row),
                    status=STATUS_NAMES[row["status"]],
                    expires=row["expires"],
                )
                for row in watchers
            ],
            of_last_flush=not current,
        )


def _summary(row: asyncpg.Record, publications: int) -> PresentitySummary:
    return PresentitySummary(
        uri=row["presentity_uri"],
        event=row["event"],
        version=row["version"],
        publications=publications,
        subscriptions=row["subscriptions"],
    )
