"""Users: who may prove with digest who they are (`auth=digest`)."""

from datetime import datetime
from typing import Annotated

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field

from presence_core.adapters.rest.access import Caller, CallerDep
from presence_core.adapters.rest.audited import Connection, entry, in_transaction
from presence_core.adapters.rest.names import DomainFilter
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL, Cursor, Limit, Page, page_of, read_cursor, write_cursor
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from vedette.rpc.contract import Ha1s
from vedette.store import subscribers
from vedette.store.api_tokens import Role

_LIST = """
SELECT s.username, s.domain, s.changed
FROM subscriber AS s
WHERE (s.domain, s.username) > ($1::text COLLATE "C", $2::text COLLATE "C") AND ($3::text IS NULL OR s.domain = $3)
ORDER BY s.domain, s.username
LIMIT $4
"""

UserName = Annotated[str, Path(max_length=600, pattern=NO_NUL, description="Like alice@example.com.")]
Password = Annotated[
    str,
    Field(min_length=1, max_length=subscribers.MAX_PASSWORD, description="Never kept: only its digests are."),
]


class UserView(BaseModel):
    """A user."""

    user: str
    domain: str
    changed: datetime = Field(description="When the password was set.")


class UserPage(Page[UserView]):
    """A page of users."""


class UserRequest(BaseModel):
    """A new user."""

    model_config = ConfigDict(extra="forbid")

    user: Annotated[str, Field(max_length=600, pattern=NO_NUL, description="Like alice@example.com.")]
    password: Password


class PasswordRequest(BaseModel):
    """A new password."""

    model_config = ConfigDict(extra="forbid")

    password: Password


class UserResult(BaseModel):
    """Who was added or changed."""

    user: str
    domain: str


_USER = {"user": "alice", "domain": "example.com"}


def add_users(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET",
        "/users",
        tag="users",
        role=Role.OPERATOR,
        errors=(422,),
        example={"items": [{**_USER, "changed": "2026-11-28T21:45:25Z"}], "next": None},
    )
    async def list_users(
        caller: CallerDep, domain: DomainFilter = None, cursor: Cursor = None, limit: Limit = 50
    ) -> UserPage:
        """List the users."""
        after = read_cursor("users", cursor, ("", ""))
        rows = await parts.database.fetch(_LIST, *after, caller.domain_of(domain), limit + 1)
        shown, last = page_of(rows, limit)
        key = None if last is None else (last["domain"], last["username"])
        return UserPage(
            items=[UserView(user=row["username"], domain=row["domain"], changed=row["changed"]) for row in shown],
            next=write_cursor("users", key),
        )

    @operations.add("POST", "/users", tag="users", role=Role.ADMIN, status=201, errors=(409, 422), example=_USER)
    async def add_user(caller: CallerDep, asked: UserRequest) -> UserResult:
        """Add a user."""
        user, domain = _named(caller, asked.user, "body.user")
        secrets = _secrets(user, domain, asked.password)

        async def work(connection: Connection) -> bool | None:
            return await subscribers.add(connection, user, domain, secrets) or None

        if not await in_transaction(
            parts.database, entry(caller, "add_user", f"{user}@{domain}", domain=domain), work, status=201
        ):
            raise RestError(
                409,
                f"{user}@{domain} is there already",
                where="body.user",
                remedy="A new password: PUT /api/v1/users/USER@DOMAIN/password.",
            )
        return UserResult(user=user, domain=domain)

    @operations.add(
        "PUT",
        "/users/{name}/password",
        tag="users",
        role=Role.ADMIN,
        errors=(404, 422),
        example=_USER,
    )
    async def set_password(caller: CallerDep, name: UserName, asked: PasswordRequest) -> UserResult:
        """Give a user a new password; edges may know the old one for users_max_age seconds."""
        user, domain = _named(caller, name, "path.name")
        secrets = _secrets(user, domain, asked.password)

        async def work(connection: Connection) -> bool | None:
            return await subscribers.change(connection, user, domain, secrets) or None

        if not await in_transaction(
            parts.database, entry(caller, "set_password", f"{user}@{domain}", domain=domain), work
        ):
            raise RestError(404, f"there is no user {user}@{domain}", where="path.name")
        return UserResult(user=user, domain=domain)

    @operations.add(
        "DELETE", "/users/{name}", tag="users", role=Role.ADMIN, status=204, errors=(404, 422), example=None
    )
    async def remove_user(caller: CallerDep, name: UserName) -> Response:
        """Remove a user; publications and subscriptions run out."""
        user, domain = _named(caller, name, "path.name")

        async def work(connection: Connection) -> bool | None:
            return await subscribers.remove(connection, user, domain) or None

        if not await in_transaction(
            parts.database, entry(caller, "remove_user", f"{user}@{domain}", domain=domain), work, status=204
        ):
            raise RestError(404, f"there is no user {user}@{domain}", where="path.name")
        return Response(status_code=204)


def _named(caller: Caller, text: str, where: str) -> tuple[str, str]:
    """User and domain; RestError 422 for what no user can be called, 403 for another domain."""
    try:
        user, domain = subscribers.name_of(text)
    except ValueError as error:
        raise RestError(422, str(error), where=where, remedy="Write it like alice@example.com.") from None
    if caller.domain is not None and caller.domain != domain:
        raise RestError(403, f"this token is for {caller.domain} alone", where=where)
    return user, domain


def _secrets(user: str, domain: str, password: str) -> Ha1s:
    if not password.isprintable():
        raise RestError(422, "the password has a control character", where="body.password")
    return subscribers.secrets_of(user, domain, password)
