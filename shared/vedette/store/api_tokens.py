"""Bearer tokens of the admin REST: shown once, kept as a hash."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import asyncpg

from vedette.store.database import Database

PREFIX = "vdt"
USED_EVERY = timedelta(minutes=1)
"""How exactly it is known when a token was used last."""

_TOKEN = re.compile(rf"{PREFIX}_(?P<id>[0-9a-f]{{12}})_(?P<secret>[A-Za-z0-9_-]{{43}})")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Role(StrEnum):
    """What a token may do; each role may what those before it may."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Whether this role may all that the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class NewToken(NamedTuple):
    """A token as its owner gets it, once."""

    id: str
    text: str
    hash: bytes


class Token(NamedTuple):
    """A token that counts."""

    id: str
    name: str
    role: Role
    domain: str | None
    """None: the whole system."""


def make_token(random: Callable[[int], bytes]) -> NewToken:
    """A new token from octets of `random`: `vdt_`, an id that may be shown, and a secret of 256 bits."""
    id_, secret = random(6).hex(), _text(random(32))
    return NewToken(id_, f"{PREFIX}_{id_}_{secret}", _hash(secret))


async def find(database: Database, text: str) -> Token | None:
    """The token that this text is, None where it is none, or is revoked or over. Raises StoreError.

    The secret is compared in constant time, and that an id is unknown takes as long to find out.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    rows = await database.fetch(
        "SELECT id, name, role, domain, hash, coalesce(last_used < clock_timestamp() - $2::interval, true) AS stale, "
        "revoked IS NULL AND (expires IS NULL OR expires > clock_timestamp()) AS counts FROM api_token WHERE id = $1",
        match["id"],
        USED_EVERY,
    )
    known = bytes(rows[0]["hash"]) if rows else bytes(32)
    if not hmac.compare_digest(known, _hash(match["secret"])) or not rows[0]["counts"]:
        return None
    row = rows[0]
    if row["stale"]:
        await database.fetch("UPDATE api_token SET last_used = clock_timestamp() WHERE id = $1", row["id"])
    return Token(row["id"], row["name"], Role(row["role"]), row["domain"])


async def add(
    connection: Connection, token: NewToken, name: str, role: Role, domain: str | None, lifetime: timedelta | None
) -> asyncpg.Record | None:
    """The row of the new token; None where another one that counts has the name."""
    # One that is over does not keep its name.
    await connection.execute(
        "UPDATE api_token SET revoked = expires WHERE name = $1 AND revoked IS NULL AND expires <= clock_timestamp()",
        name,
    )
    return await connection.fetchrow(
        "INSERT INTO api_token (id, name, hash, role, domain, expires) "
        "VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6::interval) "
        "ON CONFLICT (name) WHERE revoked IS NULL DO NOTHING "
        "RETURNING id, name, role, domain, created, expires, last_used, revoked",
        token.id,
        name,
        token.hash,
        str(role),
        domain,
        lifetime,
    )


async def revoke(connection: Connection, name_or_id: str) -> asyncpg.Record | None:
    """The row of the token that was revoked; None where there is none of that name or id."""
    return await connection.fetchrow(
        "UPDATE api_token SET revoked = clock_timestamp() WHERE (name = $1 OR id = $1) AND revoked IS NULL "
        "RETURNING id, name, role, domain, created, expires, last_used, revoked",
        name_or_id,
    )


async def tokens(connection: Connection) -> list[asyncpg.Record]:
    """Everything but the hashes, the oldest first, those that are revoked or over, too."""
    return list(
        await connection.fetch(
            "SELECT id, name, role, domain, created, expires, last_used, revoked, "
            "revoked IS NULL AND (expires IS NULL OR expires > clock_timestamp()) AS counts "
            "FROM api_token ORDER BY created, id"
        )
    )


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
