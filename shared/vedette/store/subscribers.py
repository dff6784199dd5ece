"""The table of users who prove with digest who they are; whoever needs a secret gets HA1s, never a password."""

from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import unquote

import asyncpg

from vedette.rpc.contract import Ha1s
from vedette.sip.digest import Credentials, secret_of
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record, split_aor
from vedette.store.database import Database

MAX_NAME = 255
MAX_PASSWORD = 1024

_FIND = """
SELECT s.ha1, s.ha1_sha256, s.ha1_sha512t256
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS r (username, domain, ordinal)
LEFT JOIN subscriber AS s ON s.domain = r.domain COLLATE "C" AND s.username = r.username COLLATE "C"
ORDER BY r.ordinal
"""
_ADD = """
INSERT INTO subscriber (username, domain, ha1, ha1_sha256, ha1_sha512t256) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (domain, username) DO NOTHING
"""
_CHANGE = """
UPDATE subscriber SET ha1 = $3, ha1_sha256 = $4, ha1_sha512t256 = $5, changed = now()
WHERE username = $1 AND domain = $2
"""
_REMOVE = "DELETE FROM subscriber WHERE username = $1 AND domain = $2"
_LIST = """
SELECT username, domain, changed FROM subscriber
WHERE $1::text IS NULL OR domain = $1
ORDER BY domain, username
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def name_of(text: str) -> tuple[str, str]:
    """User name, as digest has it, and domain of a text like alice@example.com; ValueError, for people, if none."""
    try:
        username, domain = split_aor(address_of_record(text if text.startswith(("sip:", "sips:")) else f"sip:{text}"))
    except SipError as error:
        raise ValueError(f"{text!r} is no name of a user ({error.reason})") from None
    username = unquote(username)
    if not username or len(username) > MAX_NAME or len(domain) > MAX_NAME:
        raise ValueError(f"{text!r} is no name of a user")
    if ":" in username or not username.isprintable():
        raise ValueError(f"{text!r}: digest has no user name with a colon or a control character")
    return username, domain


async def find(database: Database, names: Sequence[tuple[str, str]]) -> list[Ha1s | None]:
    """The secrets of each user (name, realm), None where there is none. Raises StoreError."""
    rows = await database.fetch(_FIND, [user for user, _ in names], [realm for _, realm in names])
    return [None if row["ha1"] is None else Ha1s(*row) for row in rows]


def secrets_of(username: str, domain: str, password: str) -> Ha1s:
    """The secrets of a user with that password."""
    user = Credentials(username, password)
    return Ha1s(*(secret_of(algorithm, user, domain) for algorithm in ("MD5", "SHA-256", "SHA-512-256")))


async def add(connection: Connection, username: str, domain: str, secrets: Ha1s) -> bool:
    """Whether the user was added; False where there is one of that name."""
    return await _did(connection, _ADD, username, domain, secrets.md5, secrets.sha256, secrets.sha512t256)


async def change(connection: Connection, username: str, domain: str, secrets: Ha1s) -> bool:
    """Whether the user has the new password; False where there is no such user."""
    return await _did(connection, _CHANGE, username, domain, secrets.md5, secrets.sha256, secrets.sha512t256)


async def remove(connection: Connection, username: str, domain: str) -> bool:
    """Whether the user was removed; False where there is no such user."""
    return await _did(connection, _REMOVE, username, domain)


async def users(connection: Connection, domain: str | None) -> list[asyncpg.Record]:
    """username, domain and time of the last change of all users, or of those of a domain."""
    return list(await connection.fetch(_LIST, domain))


async def _did(connection: Connection, statement: str, *arguments: str) -> bool:
    """Whether a statement has met a row."""
    return not (await connection.execute(statement, *arguments)).endswith(" 0")
