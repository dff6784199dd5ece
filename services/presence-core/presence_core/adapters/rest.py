"""The admin REST: what is published, who watches, which processes there are. Read-only."""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar, cast

import asyncpg
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from presence_core.adapters.rest_models import (
    PresentityPage,
    PresentitySummary,
    PresentityView,
    Problem,
    PublicationView,
    Readiness,
    ReplicaList,
    ReplicaView,
    SubscriptionPage,
    SubscriptionView,
)
from presence_core.adapters.rest_queries import RestQueries
from vedette import VERSION
from vedette.events.package import Preferences, Publication, WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.identity import parse_to_tag, presentity_hash
from vedette.records import read_flow
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record
from vedette.store.database import StoreError
from vedette.store.replicas import seen_within

STATUS_NAMES = {1: "active", 2: "pending", 3: "terminated", 4: "waiting"}
REPLICA_SECONDS = 60.0
SMALLEST_INT4 = -(2**31)
NO_CURSOR = "cursor: not one that this server made"

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")

Key = TypeVar("Key", bound=tuple[object, ...])

NO_NUL = r"^[^\x00]*$"
"""Postgres holds every character but this one."""

Limit = Annotated[int, Query(ge=1, le=500, description="Items on a page.")]
Cursor = Annotated[str | None, Query(max_length=2048, description="`next` of the page before.")]
Text = Annotated[str | None, Query(max_length=512, pattern=NO_NUL)]
EventName = Annotated[str, Query(max_length=128, pattern=NO_NUL)]

PROBLEM_TYPE = "application/problem+json"
TITLES = {404: "Not Found", 405: "Method Not Allowed", 422: "Unprocessable Content", 503: "Service Unavailable"}


def problem(status: int, detail: str) -> Problem:
    """The body of an answer other than 200."""
    return Problem(title=TITLES[status], status=status, detail=detail)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These answers as OpenAPI describes them."""
    content = {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


class RestError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem(status, detail)


def rest_app(queries: RestQueries, readiness: Callable[[], Awaitable[Readiness]]) -> FastAPI:
    """The application; `readiness` is asked for each /readyz."""
    app = FastAPI(title="Vedette", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    _add_errors(app)

    @app.get("/readyz", responses={503: {"model": Readiness}})
    async def readyz() -> JSONResponse:
        """Whether the whole set works: schema, one core, one notifier, one edge."""
        state = await readiness()
        return JSONResponse(state.model_dump(), status_code=200 if state.ready else 503)

    @app.get("/api/v1/presentities", responses=described(422, 503))
    async def presentities(
        search: Text = None, event: Text = None, cursor: Cursor = None, limit: Limit = 50
    ) -> PresentityPage:
        """Presentities that have a publication or a subscription; `search` is a part of the URI."""
        after = _read_cursor(cursor, (SMALLEST_INT4, "", ""))
        rows = await queries.presentities(after, search, event, limit)
        items = [_summary(row, row["publications"]) for row in rows]
        last = rows[-1] if len(rows) == limit else None
        key = (last["presentity_hash"], last["presentity_uri"], last["event"]) if last else None
        return PresentityPage(items=items, next=_write_cursor(key))

    @app.get("/api/v1/presentities/{uri:path}", responses=described(404, 422, 503))
    async def presentity(uri: str, event: EventName = "presence") -> PresentityView:
        """One presentity: its publications and the document that watchers get."""
        aor = _aor(uri)
        hash_ = presentity_hash(aor)
        row = await queries.presentity(hash_, aor, event)
        package = PACKAGES.get(event)
        if row is None or package is None:
            raise RestError(404, f"nothing is known of {aor} for the event {event}")
        if isinstance(package, WatcherInfoPackage):
            raise RestError(404, f"{event} has no document of its own: see the subscriptions to {package.base}")
        publications = await queries.publications(hash_, aor, event)
        media_type = package.notify_types[0]
        document = package.compose(
            aor,
            [Publication(p["publication_id"], p["content_type"], p["body"]) for p in publications],
            media_type,
            Preferences(),
        ).with_version(0)
        return PresentityView(
            **_summary(row, len(publications)).model_dump(),
            publication_list=[_publication(p) for p in publications],
            document=document.decode("utf-8", "replace"),
            document_type=media_type,
        )

    @app.get("/api/v1/subscriptions", responses=described(422, 503))
    async def subscriptions(
        presentity: Text = None,
        watcher: Text = None,
        event: Text = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> SubscriptionPage:
        """Live subscription dialogs, by presentity, watcher and event."""
        hash_, after_id = _read_cursor(cursor, (SMALLEST_INT4, ""))
        aor = None if presentity is None else _aor(presentity)
        rows = await queries.subscriptions(
            (hash_, _unhex(after_id)),
            presentity=(None, None) if aor is None else (presentity_hash(aor), aor),
            watcher=None if watcher is None else _aor(watcher),
            event=event,
            dialog_id=None,
            limit=limit,
        )
        last = rows[-1] if len(rows) == limit else None
        key = (last["presentity_hash"], last["dialog_id"].hex()) if last else None
        return SubscriptionPage(items=[_subscription(row) for row in rows], next=_write_cursor(key))

    @app.get("/api/v1/subscriptions/{id}", responses=described(404, 422, 503))
    async def subscription(id: str) -> SubscriptionView:  # noqa: A002 - the name in the path
        """One subscription dialog."""
        named = parse_to_tag(id)
        rows: list[asyncpg.Record] = []
        if named is not None:
            rows = await queries.subscriptions(
                (SMALLEST_INT4, b""),
                presentity=(named[0], None),
                watcher=None,
                event=None,
                dialog_id=named[1],
                limit=1,
            )
        if not rows:
            raise RestError(404, "there is no live subscription with this id")
        return _subscription(rows[0])

    @app.get("/api/v1/replicas", responses=described(503))
    async def replicas() -> ReplicaList:
        """Every process of every service that was seen within the last minute."""
        rows = await seen_within(queries.database, REPLICA_SECONDS)
        return ReplicaList(items=[_replica(row) for row in rows])

    return app


def _add_errors(app: FastAPI) -> None:
    def answer(found: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse(found.model_dump(), status_code=found.status, media_type=PROBLEM_TYPE, headers=headers)

    @app.exception_handler(RestError)
    async def refused(_request: Request, error: RestError) -> JSONResponse:
        return answer(error.problem)

    @app.exception_handler(StoreError)
    async def unavailable(_request: Request, _error: StoreError) -> JSONResponse:
        return answer(problem(503, "Postgres cannot be reached now"))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return answer(problem(422, f"{place}: {first['msg']}"))

    @app.exception_handler(404)
    async def nothing(_request: Request, _error: Exception) -> JSONResponse:
        return answer(problem(404, "there is no such resource; see /api/v1/openapi.json"))

    @app.exception_handler(405)
    async def only_read(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(problem(405, "this API is read-only"), error.headers)


def _aor(uri: str) -> str:
    try:
        return address_of_record(uri if ":" in uri.partition("@")[0] else f"sip:{uri}")
    except SipError as error:
        raise RestError(422, f"not a SIP URI: {error.reason}") from None


def _write_cursor(key: tuple[object, ...] | None) -> str | None:
    if key is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read_cursor(cursor: str | None, first: Key) -> Key:
    if cursor is None:
        return first
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or [type(part) for part in key] != [type(part) for part in first]
        or not all(_is_storable(part) for part in key)
    ):
        raise RestError(422, NO_CURSOR)
    return cast("Key", tuple(key))


def _is_storable(part: object) -> bool:
    """Whether Postgres has such a value: an int4, or text."""
    if isinstance(part, int):
        return SMALLEST_INT4 <= part < -SMALLEST_INT4
    return isinstance(part, str) and not _NOT_TEXT.search(part)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RestError(422, NO_CURSOR) from None


def _summary(row: asyncpg.Record, publications: int) -> PresentitySummary:
    return PresentitySummary(
        uri=row["presentity_uri"],
        event=row["event"],
        version=row["version"],
        publications=publications,
        subscriptions=row["subscriptions"],
    )


def _publication(row: asyncpg.Record) -> PublicationView:
    return PublicationView(
        etag=row["etag"],
        content_type=row["content_type"],
        expires=row["expires"],
        received=row["received_time"],
        version=row["version"],
        body=row["body"].decode("utf-8", "replace"),
    )


def _subscription(row: asyncpg.Record) -> SubscriptionView:
    flow = read_flow(row["socket_info"])
    user = row["watcher_username"]
    return SubscriptionView(
        id=row["to_tag"],
        presentity=row["presentity_uri"],
        event=row["event"],
        event_id=row["event_id"],
        watcher=f"sip:{user}@{row['watcher_domain']}" if user else row["watcher_domain"],
        status=STATUS_NAMES[row["status"]],
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
        notify_outstanding=row["outstanding"],
        presentity_version=row["presentity_version"],
    )


def _replica(row: asyncpg.Record) -> ReplicaView:
    return ReplicaView(
        service=row["service"],
        instance=row["instance"],
        address=row["address"],
        version=row["version"],
        pid=row["pid"],
        host=row["host"],
        uptime=row["uptime"],
        seen=row["age"],
        ready=row["ready"] and row["age"] < 5,
    )
