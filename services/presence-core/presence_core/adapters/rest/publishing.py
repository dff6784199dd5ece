"""Publishing over HTTP: the way of a PUBLISH, with the same checks, limits and entity tags."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import asyncpg
from fastapi import Header, Query, Request, Response
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.audited import elsewhere, entry
from presence_core.adapters.rest.idempotency import Done, IdempotencyKey, once
from presence_core.adapters.rest.operations import ROOT, Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.rest.publications import ETAG, PublicationId, find_publication
from presence_core.adapters.rest.published_bodies import (
    LONGEST,
    PublicationChange,
    PublicationRequest,
    RefreshRequest,
    described_body,
    document_of,
    is_json,
    read_body,
)
from vedette.identity import entity_tag, parse_entity_tag, presentity_hash, to_tag
from vedette.rpc.contract import UNKNOWN, PublishCall, Reply
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role

ATTEMPTS = 5
"""How often a change without If-Match is tried with the tag of the moment."""

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=512,
        description="The ETag that the publication has to have; without it, whatever it has.",
    ),
]


class PublicationResult(BaseModel):
    """What became of a publication."""

    id: str
    etag: str
    presentity: str
    event: str
    expires_in: int = Field(description="Seconds that were granted.")


_RESULT = {
    "id": "5f1c8a02.00112233445566778899aabbccddeeff",
    "etag": "00112233445566778899aabbccddeeff.1",
    "presentity": "sip:alice@example.com",
    "event": "presence",
    "expires_in": 3600,
}
_PLAIN: dict[str, Any] = {
    "expires": 3600,
    "presence": {"status": "open", "note": "In a meeting", "activities": ["meeting"]},
}
_EXAMPLES = {
    "presence": {"presentity": "sip:alice@example.com", **_PLAIN},
    "dialog": {
        "presentity": "sip:alice@example.com",
        "event": "dialog",
        "dialog": {
            "calls": [{"id": "1", "state": "confirmed", "direction": "recipient", "remote": "sip:bob@example.com"}]
        },
    },
    "message-summary": {
        "presentity": "sip:alice@example.com",
        "event": "message-summary",
        "message_summary": {"waiting": True, "messages": {"voice": {"new": 2, "old": 8}}},
    },
}
_CHANGES = (400, 404, 409, 412, 415, 422, 500, 504)


def add_publishing(operations: Operations, parts: Parts) -> None:
    """Add the operations."""
    _add_creating(operations, parts)
    _add_replacing(operations, parts)
    _add_refreshing_and_removing(operations, parts)


def _add_creating(operations: Operations, parts: Parts) -> None:
    @operations.add(
        "POST",
        "/publications",
        tag="publications",
        role=Role.OPERATOR,
        status=201,
        errors=_CHANGES,
        example=_RESULT,
        headers={**ETAG, "Location": "Where the publication is."},
        model=PublicationResult,
        extra=described_body("PublicationRequest", _EXAMPLES, raw=True),
        schemas=(PublicationRequest,),
    )
    async def create_publication(
        caller: CallerDep,
        request: Request,
        presentity: Annotated[
            str | None, Query(max_length=1024, pattern=NO_NUL, description="Whose; only with the document itself.")
        ] = None,
        event: Annotated[
            str | None, Query(max_length=128, pattern=NO_NUL, description="Only with the document itself.")
        ] = None,
        expires: Annotated[
            int | None, Query(ge=1, le=LONGEST, description="Seconds; only with the document itself.")
        ] = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Publish something new, as JSON in plain words or as the document itself, with its Content-Type.

        It goes the way of a PUBLISH: the same checks, limits and entity tags, and watchers get NOTIFYs.
        """
        content_type, raw = request.headers.get("content-type", ""), await request.body()
        if is_json(content_type):
            _refuse_query(presentity=presentity, event=event, expires=expires)
            asked = read_body(PublicationRequest, raw)
            name, about, seconds = asked.presentity, asked.event, asked.expires
            aor = parts.aor_of(name, "body.presentity")
            content_type, document = document_of(asked, aor, about)
        else:
            if presentity is None:
                raise RestError(422, "presentity: needed beside the document itself", where="query.presentity")
            about, seconds, document = event or "presence", expires, raw
            aor = parts.aor_of(presentity, "query.presentity")
        caller.must_see(aor)
        call = _call(caller, idempotency_key, aor, about, seconds, None, (content_type, document))

        async def work() -> Done:
            reply = await _publish(parts, caller, "create_publication", aor, call)
            result = _result(aor, about, reply)
            return Done(201, {"ETag": f'"{result.etag}"', "Location": _location(result.id)}, result.model_dump())

        request_facts = ("create_publication", aor, about, seconds, content_type, document)
        return await once(parts.database, caller, idempotency_key, request_facts, work)


def _add_replacing(operations: Operations, parts: Parts) -> None:
    @operations.add(
        "PUT",
        "/publications/{id}",
        tag="publications",
        role=Role.OPERATOR,
        errors=_CHANGES,
        example={**_RESULT, "etag": "00112233445566778899aabbccddeeff.2"},
        headers=ETAG,
        model=PublicationResult,
        extra=described_body("PublicationChange", {"presence": _PLAIN}, raw=True),
        schemas=(PublicationChange,),
    )
    async def replace_publication(
        caller: CallerDep,
        id: PublicationId,  # noqa: A002
        request: Request,
        expires: Annotated[
            int | None, Query(ge=1, le=LONGEST, description="Seconds; only with the document itself.")
        ] = None,
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Give a publication another body, and another lifetime."""
        content_type, raw = request.headers.get("content-type", ""), await request.body()
        if is_json(content_type):
            _refuse_query(expires=expires)
            asked = read_body(PublicationChange, raw)

            def content(row: asyncpg.Record) -> tuple[str, bytes]:
                return document_of(asked, row["presentity_uri"], row["event"])

            seconds = asked.expires
        else:
            seconds = expires

            def content(row: asyncpg.Record) -> tuple[str, bytes]:
                del row
                return content_type, raw

        facts = ("replace_publication", id, if_match, expires, content_type, raw)
        return await _change(
            parts, caller, "replace_publication", id, if_match, idempotency_key, seconds, content, facts
        )


def _add_refreshing_and_removing(operations: Operations, parts: Parts) -> None:
    @operations.add(
        "POST",
        "/publications/{id}/refresh",
        tag="publications",
        role=Role.OPERATOR,
        errors=_CHANGES,
        example={**_RESULT, "etag": "00112233445566778899aabbccddeeff.2"},
        headers=ETAG,
        model=PublicationResult,
    )
    async def refresh_publication(
        caller: CallerDep,
        id: PublicationId,  # noqa: A002
        asked: RefreshRequest | None = None,
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Have a publication live on."""
        seconds = None if asked is None else asked.expires
        facts = ("refresh_publication", id, if_match, seconds)
        return await _change(
            parts, caller, "refresh_publication", id, if_match, idempotency_key, seconds, None, facts
        )

    @operations.add(
        "DELETE",
        "/publications/{id}",
        tag="publications",
        role=Role.OPERATOR,
        status=204,
        errors=_CHANGES,
        example=None,
    )
    async def remove_publication(
        caller: CallerDep,
        id: PublicationId,  # noqa: A002
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Remove a publication."""
        facts = ("remove_publication", id, if_match)
        return await _change(parts, caller, "remove_publication", id, if_match, idempotency_key, 0, None, facts)


async def _change(
    parts: Parts,
    caller: Caller,
    operation: str,
    id_: str,
    if_match: str | None,
    key: str | None,
    seconds: int | None,
    content: Callable[[asyncpg.Record], tuple[str, bytes]] | None,
    facts: tuple[object, ...],
) -> Response:
    wanted = _wanted(if_match)

    async def work() -> Done:
        for _ in range(ATTEMPTS):
            row = await find_publication(parts, caller, id_)
            etag = wanted or row["etag"]
            if (parse_entity_tag(etag) or (b"",))[0] != row["publication_id"]:
                raise RestError(412, f"If-Match names another publication than {id_}", where="header.if-match")
            aor = row["presentity_uri"]
            call = _call(caller, key, aor, row["event"], seconds, etag, None if content is None else content(row))
            try:
                reply = await _publish(parts, caller, operation, aor, call)
            except RestError as error:
                # Somebody else was faster, and which state it was did not matter.
                if error.problem.status == 412 and wanted is None:
                    continue
                raise
            if seconds == 0:
                return Done(204, {}, None)
            result = _result(aor, row["event"], reply)
            return Done(200, {"ETag": f'"{result.etag}"'}, result.model_dump())
        raise RestError(409, "somebody else changes this publication all the time", where="path.id")

    return await once(parts.database, caller, key, facts, work)


def _wanted(if_match: str | None) -> str | None:
    """The entity tag in If-Match; None without it and for `*`. RestError 412 for what no tag of ours can be."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip().removeprefix('"').removesuffix('"')
    if parse_entity_tag(tag) is None:
        raise RestError(412, "If-Match is none of the entity tags that publications have", where="header.if-match")
    return tag


def _call(
    caller: Caller,
    key: str | None,
    aor: str,
    event: str,
    expires: int | None,
    etag: str | None,
    content: tuple[str, bytes] | None,
) -> PublishCall:
    """The PUBLISH that this is; with an Idempotency-Key always the same one, so that a copy meets its original."""
    owner = caller.token_id or ""
    unique = secrets.token_hex(16) if key is None else hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]
    return PublishCall(
        request_uri=aor,
        call_id=f"rest-{unique}",
        cseq=1,
        from_uri=aor,
        from_tag=owner or "rest",
        to_tag="",
        client_branch=unique,
        event=event,
        expires=None if expires is None else str(expires),
        if_match=[] if etag is None else [etag],
        content_type=None if content is None else content[0] or None,
        content_encoding=None,
        body=b"" if content is None else content[1],
    )


async def _publish(parts: Parts, caller: Caller, operation: str, aor: str, call: PublishCall) -> Reply:
    """The 200 of a core; RestError for any other."""
    detail = {
        "event": call.event,
        "expires": call.expires,
        "content_type": call.content_type,
        "octets": len(call.body),
        "etag": call.if_match[0] if call.if_match else None,
    }

    async def work() -> Reply:
        reply = await parts.ask_core(call)
        if reply.status != 200:
            raise _refusal(reply)
        return reply

    found = entry(caller, operation, aor, domain=split_aor(aor)[1], detail=detail)
    return await elsewhere(parts.database, found, work)


_REFUSALS: Mapping[int, tuple[int, str, str, str | None]] = {
    404: (404, "this server does not serve the domain", "presentity", "See the parameter `domains`."),
    412: (412, "the publication has another entity tag now, or is gone", "header.if-match", None),
    415: (415, "the event does not take such a document", "header.content-type", None),
    416: (422, "the presentity is no SIP URI", "presentity", None),
    423: (422, "the lifetime is too short", "expires", None),
    489: (422, "nobody can publish for this event", "event", "GET /api/v1/event-packages names those that can."),
    500: (500, "this cannot be stored", "body", "Change what you send."),
    503: (503, "no core can take it now", "", None),
    UNKNOWN: (504, "it is not known whether it was stored", "", None),
}


def _refusal(reply: Reply) -> RestError:
    """What a core's refusal is over HTTP."""
    status, detail, where, remedy = _REFUSALS.get(
        reply.status, (409 if reply.status == 403 else 422, "refused", "body", None)
    )
    headers = dict(reply.headers)
    if reply.reason:
        detail = f"{detail}: {reply.reason}" if reply.status in _REFUSALS else reply.reason
    if "Min-Expires" in headers:
        remedy = f"Ask for {headers['Min-Expires']} seconds or more."
    if "Accept" in headers:
        remedy = f"Send {headers['Accept']}."
    return RestError(status, detail, where=where or None, remedy=remedy)


def _result(aor: str, event: str, reply: Reply) -> PublicationResult:
    headers = dict(reply.headers)
    named = parse_entity_tag(headers["SIP-ETag"])
    assert named is not None
    return PublicationResult(
        id=to_tag("", presentity_hash(aor), named[0]),
        etag=entity_tag(*named),
        presentity=aor,
        event=event,
        expires_in=int(headers["Expires"]),
    )


def _location(id_: str) -> str:
    return f"{ROOT}/publications/{quote(id_)}"


def _refuse_query(**given: object) -> None:
    """Raises RestError for a parameter that the JSON has, too."""
    for name, value in given.items():
        if value is not None:
            raise RestError(422, f"{name}: belongs into the JSON", where=f"query.{name}")
