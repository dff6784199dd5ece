"""Tokens: who may use REST."""

import secrets
from datetime import datetime, timedelta
from typing import Annotated

import asyncpg
from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record, split_aor
from vedette.store import api_tokens
from vedette.store.api_tokens import Role

LONGEST = 3650 * 86400


class TokenView(BaseModel):
    """A token, without what is secret of it."""

    id: str
    name: str
    role: Role
    domain: str | None = Field(description="The one domain that it is for; null: the whole system.")
    created: datetime
    expires: datetime | None
    last_used: datetime | None = Field(description="To a minute.")
    revoked: datetime | None


class TokenList(BaseModel):
    """All tokens, those that are over or revoked, too."""

    items: list[TokenView]


class TokenRequest(BaseModel):
    """A new token."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    role: Role = Role.READER
    domain: Annotated[str, Field(max_length=255, pattern=NO_NUL)] | None = None
    expires_in: int | None = Field(None, ge=1, le=LONGEST, description="Seconds; null: it has no end.")


class NewTokenView(TokenView):
    """A token that was just made."""

    token: str = Field(description="What callers send. It is shown this once.")


_TOKEN = {
    "id": "0123456789ab",
    "name": "helpdesk",
    "role": "operator",
    "domain": "example.com",
    "created": "2026-11-28T21:45:25Z",
    "expires": None,
    "last_used": None,
    "revoked": None,
}


def add_tokens(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add("GET", "/tokens", tag="tokens", role=Role.ADMIN, whole_system=True, example={"items": [_TOKEN]})
    async def list_tokens() -> TokenList:
        """List the tokens."""
        rows = await parts.database.transact(api_tokens.tokens)
        return TokenList(items=[_view(row) for row in rows])

    @operations.add(
        "POST",
        "/tokens",
        tag="tokens",
        role=Role.ADMIN,
        whole_system=True,
        status=201,
        errors=(409, 422),
        example={**_TOKEN, "token": "vdt_0123456789ab_" + "x" * 43},
    )
    async def create_token(caller: CallerDep, asked: TokenRequest) -> NewTokenView:
        """Make a token."""
        made = api_tokens.make_token(secrets.token_bytes)
        domain = _domain(asked.domain)
        lifetime = None if asked.expires_in is None else timedelta(seconds=asked.expires_in)

        async def work(connection: Connection) -> asyncpg.Record | None:
            return await api_tokens.add(connection, made, asked.name, asked.role, domain, lifetime)

        detail = {"name": asked.name, "role": str(asked.role), "domain": domain, "expires_in": asked.expires_in}
        found = entry(caller, "create_token", made.id, domain=None, detail=detail)
        row = await in_transaction(parts.database, found, work, status=201)
        if row is None:
            raise RestError(409, f"there is a token {asked.name!r} already", where="body.name")
        return NewTokenView(**_view(row).model_dump(), token=made.text)

    @operations.add(
        "DELETE",
        "/tokens/{id}",
        tag="tokens",
        role=Role.ADMIN,
        whole_system=True,
        errors=(404, 422),
        example={**_TOKEN, "revoked": "2026-11-28T22:45:25Z"},
    )
    async def revoke_token(
        caller: CallerDep,
        id: Annotated[str, Path(max_length=64, pattern=NO_NUL, description="The id of the token.")],  # noqa: A002
    ) -> TokenView:
        """Have a token count no more, within five seconds."""

        async def work(connection: Connection) -> asyncpg.Record | None:
            return await api_tokens.revoke(connection, id)

        row = await in_transaction(parts.database, entry(caller, "revoke_token", id, domain=None), work)
        if row is None:
            raise RestError(404, "there is no token with this id that counts", where="path.id")
        return _view(row)


def _domain(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        user, domain = split_aor(address_of_record(f"sip:user@{text}"))
    except SipError:
        user, domain = "", ""
    if user != "user" or not domain:
        raise RestError(422, "domain: not the name of a domain", where="body.domain")
    return domain


def _view(row: asyncpg.Record) -> TokenView:
    names = ("id", "name", "role", "domain", "created", "expires", "last_used", "revoked")
    return TokenView(**{name: row[name] for name in names})
