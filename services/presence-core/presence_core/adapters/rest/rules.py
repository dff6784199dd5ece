"""Rules documents (RFC 4745, RFC 5025): kept, replaced and removed, with a dry run that names who would see what."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.names import EventName, event_of, user_of
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.identity import Presentity, presentity
from vedette.rules.document import Unreadable, read_rules
from vedette.rules.packages import remarks_on
from vedette.rules.ruling import said
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role
from vedette.store.authorization import Document, Written, delete_rules, documents, put_rules, sharing_rules
from vedette.store.explaining import differences

MEDIA_TYPE = "application/auth-policy+xml"
MOST_DIFFERENCES = 1000

Whose = Annotated[
    str,
    Query(
        alias="presentity", max_length=1024, pattern=NO_NUL, description="Whose rules, like sip:alice@example.com."
    ),
]
DocumentName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f/]+$",
        description="All documents of a presentity count together; `index` is the usual one.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=128, description="The ETag that the document has to have; *: any."),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", pattern=r"^\*$", description="*: there must be no document yet.")
]
DryRun = Annotated[bool, Query(description="Change nothing; say for whom it would make a difference.")]


class RulesSummary(BaseModel):
    """A document, without its text."""

    event: str
    name: str
    uri: str = Field(description="Its address, as XCAP has it.")
    etag: str
    octets: int
    rules: int | None = Field(description="null: it cannot be read, and blocks everybody.")
    changed: datetime


class RulesList(BaseModel):
    """The documents of a presentity."""

    items: list[RulesSummary]


class SightDifference(BaseModel):
    """A watcher for whom it makes a difference."""

    watcher: str
    event: str
    change: str = Field(description="gains, loses or differs.", examples=["gains"])
    before: str
    after: str


class RulesResult(BaseModel):
    """What became of a document, or with `dry_run` would."""

    verdict: str = Field(description="created, replaced, removed; dry run: nothing was changed.")
    etag: str | None
    remarks: list[str] = Field(description="What in the document has no effect, or another one than it seems.")
    differences: list[SightDifference] = Field(description=f"Dry run: {MOST_DIFFERENCES} at most.")
    more: int = Field(description="How many differences were left out.")


_ETAG = {"ETag": "The entity tag of the document."}
_ERRORS = (404, 412, 422)
_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
    '<rule id="friends"><conditions><identity><one id="sip:bob@example.com"/></identity></conditions>'
    "<actions><pr:sub-handling>allow</pr:sub-handling></actions><transformations>"
    "<pr:provide-services><pr:all-services/></pr:provide-services>"
    "<pr:provide-persons><pr:all-persons/></pr:provide-persons><pr:provide-all-attributes/>"
    "</transformations></rule></ruleset>"
)
_RESULT = {"verdict": "created", "etag": "0123456789abcdef01234567", "remarks": [], "differences": [], "more": 0}
_SUMMARY = {
    "event": "presence",
    "name": "index",
    "uri": "pres-rules/users/sip:alice@example.com/index",
    "etag": "0123456789abcdef01234567",
    "octets": 350,
    "rules": 1,
    "changed": "2026-11-28T21:45:25Z",
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "examples": {"allow": {"value": _DOCUMENT}}}},
    }
}


def add_rules(operations: Operations, parts: Parts) -> None:
    """Add the operations."""
    _add_reading(operations, parts)
    _add_writing(operations, parts)


def _add_reading(operations: Operations, parts: Parts) -> None:
    @operations.add("GET", "/rules", tag="rules", role=Role.READER, errors=(422,), example={"items": [_SUMMARY]})
    async def list_rules(caller: CallerDep, whose: Whose) -> RulesList:
        """List the rules documents of a presentity."""
        aor = _aor(parts, caller, whose)
        found = await documents(parts.database, presentity(aor, "presence").hash, aor)
        return RulesList(items=[_summary(document) for document in found])

    @operations.add(
        "GET",
        "/rules/{name}",
        tag="rules",
        role=Role.READER,
        errors=(404, 422),
        example=_DOCUMENT,
        media_type=MEDIA_TYPE,
        headers=_ETAG,
        response_class=Response,
    )
    async def get_rules(
        caller: CallerDep, name: DocumentName, whose: Whose, event: EventName = "presence"
    ) -> Response:
        """Get a rules document as it was put."""
        where = _presentity(parts, caller, whose, event)
        found = await _find(parts, where, name)
        if found is None:
            raise RestError(404, f"{where.uri} has no rules {name!r} for {event}", where="path.name")
        return Response(found.octets, media_type=MEDIA_TYPE, headers={"ETag": f'"{found.etag}"'})


def _add_writing(operations: Operations, parts: Parts) -> None:
    @operations.add(
        "PUT",
        "/rules/{name}",
        tag="rules",
        role=Role.OPERATOR,
        errors=_ERRORS,
        example=_RESULT,
        headers=_ETAG,
        extra=_BODY,
    )
    async def put_rules_document(
        caller: CallerDep,
        request: Request,
        response: Response,
        name: DocumentName,
        whose: Whose,
        event: EventName = "presence",
        dry_run: DryRun = False,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> RulesResult:
        """Put a rules document into force; all who watch are judged by it at once."""
        where = _presentity(parts, caller, whose, event)
        octets = await request.body()
        rules = read_rules(octets)
        if isinstance(rules, Unreadable):
            raise RestError(422, f"rules: {rules}", where="body", remedy="Correct that; nothing was changed.")
        remarks = remarks_on(rules, event)
        wanted = await _wanted(parts, where, name, if_match, if_none_match)
        if dry_run:
            return await _differences(parts, where, name, octets, remarks)
        detail = {"event": event, "name": name, "octets": len(octets), "rules": len(rules.rules)}
        found = entry(caller, "put_rules_document", where.uri, domain=split_aor(where.uri)[1], detail=detail)

        async def work(connection: Connection) -> Written | None:
            written = await put_rules(connection, where, octets, name=name, if_match=wanted)
            assert isinstance(written, Written)
            return None if written.verdict == "unmatched" else written

        written = await in_transaction(parts.database, found, work)
        if written is None:
            raise _changed()
        await parts.ring()
        response.headers["ETag"] = f'"{written.etag}"'
        return RulesResult(verdict=written.verdict, etag=written.etag, remarks=remarks, differences=[], more=0)

    @operations.add(
        "DELETE",
        "/rules/{name}",
        tag="rules",
        role=Role.OPERATOR,
        errors=_ERRORS,
        example={**_RESULT, "verdict": "removed", "etag": None},
    )
    async def delete_rules_document(
        caller: CallerDep,
        name: DocumentName,
        whose: Whose,
        event: EventName = "presence",
        dry_run: DryRun = False,
        if_match: IfMatch = None,
    ) -> RulesResult:
        """Take a rules document out of force; without any, default_rule and dialog_rule decide."""
        where = _presentity(parts, caller, whose, event)
        wanted = await _wanted(parts, where, name, if_match, None)
        if dry_run:
            return await _differences(parts, where, name, None, [])
        found = entry(
            caller,
            "delete_rules_document",
            where.uri,
            domain=split_aor(where.uri)[1],
            detail={"event": event, "name": name},
        )
        refused: list[Written] = []

        async def work(connection: Connection) -> Written | None:
            written = await delete_rules(connection, where, name=name, if_match=wanted)
            if written.verdict == "removed":
                return written
            refused.append(written)
            return None

        if await in_transaction(parts.database, found, work) is None:
            if refused[0].verdict == "unmatched":
                raise _changed()
            raise RestError(404, f"{where.uri} has no rules {name!r} for {event}", where="path.name")
        await parts.ring()
        return RulesResult(verdict="removed", etag=None, remarks=[], differences=[], more=0)


def _aor(parts: Parts, caller: Caller, whose: str) -> str:
    aor = user_of(parts.aor_of(whose, "query.presentity"), "query.presentity")
    caller.must_see(aor)
    return aor


def _presentity(parts: Parts, caller: Caller, whose: str, event: str) -> Presentity:
    return presentity(_aor(parts, caller, whose), event_of(event, "query.event"))


async def _find(parts: Parts, where: Presentity, name: str) -> Document | None:
    found = await documents(parts.database, *where)
    return next((document for document in found if document.name == name), None)


async def _wanted(
    parts: Parts, where: Presentity, name: str, if_match: str | None, if_none_match: str | None
) -> str | None:
    """The entity tag that the document has to have, as `put_rules` takes it."""
    if if_none_match is not None:
        return ""
    if if_match is None:
        return None
    if if_match.strip() != "*":
        return if_match.strip().strip('"') or "none"
    found = await _find(parts, where, name)
    if found is None:
        raise _changed()
    return found.etag


def _changed() -> RestError:
    return RestError(412, "the document has another entity tag, or is not there", where="header.if-match")


async def _differences(
    parts: Parts, where: Presentity, name: str, octets: bytes | None, remarks: list[str]
) -> RulesResult:
    found: list[SightDifference] = []
    for one in sharing_rules(where):
        for item in await differences(parts.database, one, octets, parts.defaults, time.time(), name=name):
            user, domain = item.watcher
            found.append(
                SightDifference(
                    watcher=f"sip:{user}@{domain}" if user else f"sip:{domain}",
                    event=one.event,
                    change={True: "gains", False: "loses", None: "differs"}[item.gains],
                    before=said(item.before),
                    after=said(item.after),
                )
            )
    return RulesResult(
        verdict="dry run",
        etag=None,
        remarks=remarks,
        differences=found[:MOST_DIFFERENCES],
        more=max(0, len(found) - MOST_DIFFERENCES),
    )


def _summary(document: Document) -> RulesSummary:
    rules = read_rules(document.octets)
    return RulesSummary(
        event=document.event,
        name=document.name,
        uri=document.doc_uri,
        etag=document.etag,
        octets=len(document.octets),
        rules=None if isinstance(rules, Unreadable) else len(rules.rules),
        changed=datetime.fromtimestamp(document.changed, UTC),
    )
