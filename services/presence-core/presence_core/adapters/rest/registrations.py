"""Registrations: where users are, as their phones have said by REGISTER (`registrar=on`)."""

from datetime import datetime
from typing import Annotated

from fastapi import Path, Response
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.names import DomainFilter, Text, UriInPath, aor_of
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL, Cursor, Limit, Page, page_of, read_cursor, write_cursor
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.identity import presentity_hash
from vedette.sip.uri import split_aor
from vedette.store import registrations
from vedette.store.api_tokens import Role

_LIST = """
SELECT l.*, extract(epoch FROM l.expires - clock_timestamp())::int4 AS seconds
FROM location AS l
WHERE (l.presentity_hash, l.ruid) > ($1::int4, $2::text COLLATE "C")
    AND ($3::int4 IS NULL OR l.presentity_hash = $3)
    AND ($4::text IS NULL OR l.username = $4) AND ($5::text IS NULL OR l.domain = $5)
    AND l.expires > clock_timestamp()
ORDER BY l.presentity_hash, l.ruid
LIMIT $6
"""

RegistrationId = Annotated[str, Path(max_length=64, pattern=NO_NUL, description="`id` of the list.")]


class RegistrationView(BaseModel):
    """A binding: a place where a user can be reached."""

    id: str
    user: str = Field(description="The address-of-record, like sip:alice@example.com.")
    contact: str
    received: str = Field(description="Where the REGISTER came from.")
    socket: str = Field(description="Where it came to: transport:host:port.")
    path: str
    q: float | None
    instance: str = Field(description="+sip.instance of the device; empty: it names none.")
    reg_id: int
    user_agent: str
    call_id: str
    cseq: int
    changed: datetime
    expires: datetime
    seconds: int = Field(description="What is left of its time.")
    edge: str = Field(description="The instance of the edge that it came by.")


class RegistrationPage(Page[RegistrationView]):
    """A page of registrations."""


_EXAMPLE = {
    "id": "5f0c6bb1b5a94f1d8e1e2b0c", "user": "sip:alice@example.com", "contact": "sip:alice@192.0.2.7:5060",
    "received": "sip:192.0.2.7:5060;transport=udp", "socket": "udp:192.0.2.1:5060", "path": "", "q": None,
    "instance": "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>", "reg_id": 0, "user_agent": "baresip v1.0.0",
    "call_id": "4b1c7d", "cseq": 2, "changed": "2026-11-28T21:45:25Z", "expires": "2026-11-28T22:45:25Z",
    "seconds": 3600, "edge": "3f2a9c",
}  # fmt: skip


def add_registrations(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/registrations",
        tag="registrations",
        role=Role.READER,
        errors=(422,),
        example={"items": [_EXAMPLE], "next": None},
    )
    async def list_registrations(
        caller: CallerDep, user: Text = None, domain: DomainFilter = None, cursor: Cursor = None, limit: Limit = 50
    ) -> RegistrationPage:
        """List where users have registered, or where one has."""
        after = read_cursor("registrations", cursor, (-(2**31), ""))
        hash_, name, of_domain = None, None, caller.domain_of(domain)
        if user is not None:
            aor = aor_of(user, "query.user", fold_case=parts.fold_case)
            hash_, (name, named_domain) = presentity_hash(aor), split_aor(aor)
            if of_domain is not None and of_domain != named_domain:
                return RegistrationPage(items=[], next=None)
            of_domain = named_domain
        rows = await parts.database.fetch(_LIST, *after, hash_, name, of_domain, limit + 1)
        shown, last = page_of(rows, limit)
        items = [
            RegistrationView(
                id=row["ruid"],
                user=f"sip:{row['username']}@{row['domain']}",
                call_id=row["callid"],
                changed=row["last_modified"],
                edge=row["edge_instance"],
                **{name: row[name] for name in _SAME},
            )
            for row in shown
        ]
        key = None if last is None else (last["presentity_hash"], last["ruid"])
        return RegistrationPage(items=items, next=write_cursor("registrations", key))

    @operations.add(
        "DELETE",
        "/registrations/{uri}/{id}",
        tag="registrations",
        role=Role.OPERATOR,
        status=204,
        errors=(404, 422),
        example=None,
    )
    async def remove_registration(caller: CallerDep, uri: UriInPath, id: RegistrationId) -> Response:  # noqa: A002
        """Remove a registration; a phone that is alive registers again when its time comes."""
        await _remove(parts, caller, uri, id)
        return Response(status_code=204)


_SAME = (
    "contact", "received", "socket", "path", "q", "instance", "reg_id", "user_agent", "cseq", "expires", "seconds",
)  # fmt: skip


async def _remove(parts: Parts, caller: Caller, uri: str, ruid: str) -> None:
    aor = aor_of(uri, "path.uri", fold_case=parts.fold_case)
    username, domain = split_aor(aor)
    if caller.domain is not None and caller.domain != domain:
        raise RestError(403, f"this token is for {caller.domain} alone", where="path.uri")

    async def work(connection: Connection) -> int | None:
        return await registrations.remove(connection, presentity_hash(aor), username, domain, ruid) or None

    found = entry(caller, "remove_registration", aor, domain=domain, detail={"id": ruid})
    if not await in_transaction(parts.database, found, work, status=204):
        raise RestError(404, f"{aor} has no registration {ruid}", where="path.id")
