"""The table of bindings, and the RPC call that brings REGISTERs from the edges."""

import asyncio
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from presence_core.domain.register import Binding, RegisterCommand, RegisterVerdict, judge_register
from presence_core.flows.handle_register import RegisterFlow
from vedette.rpc.contract import RegisterBatch, Reply, ReplyBatch
from vedette.sip.uri import split_aor
from vedette.store.database import Database
from vedette.store.registrations import Connection, lock_users

_COLUMNS = (
    "ruid", "contact", "expires", "q", "callid", "cseq", "last_key", "instance", "reg_id", "path", "user_agent",
    "received", "socket", "socket_info", "edge_instance", "edge_address", "last_modified", "device", "follows",
)  # fmt: skip
_TYPES = (
    "text", "text", "float8", "real", "text", "int4", "bytea", "text", "int4", "text", "text",
    "text", "text", "text", "text", "text", "float8", "text", "text",
)  # fmt: skip
_TIMES = frozenset({"expires", "last_modified"})

_READ = f"""
SELECT k.ordinal, {
    ", ".join(
        f"extract(epoch FROM l.{name})::float8 AS {name}" if name in _TIMES else f"l.{name}" for name in _COLUMNS
    )
}
FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS k (presentity_hash, username, domain, ordinal)
JOIN location AS l ON l.presentity_hash = k.presentity_hash
WHERE l.username = k.username AND l.domain = k.domain
"""  # noqa: S608 - constants
_WRITE = f"""
INSERT INTO location (presentity_hash, username, domain, {", ".join(_COLUMNS)})
SELECT r.presentity_hash, r.username, r.domain, {
    ", ".join(f"to_timestamp(r.{name})" if name in _TIMES else f"r.{name}" for name in _COLUMNS)
}
FROM unnest($1::int4[], $2::text[], $3::text[], {
    ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(_TYPES, 4))
}) AS r (presentity_hash, username, domain, {", ".join(_COLUMNS)})
ON CONFLICT (presentity_hash, ruid) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
"""  # noqa: S608


class RegistrationStore:
    """Commands in, verdicts out; each call is one transaction, in which nobody else changes these users."""

    def __init__(self, database: Database, *, max_contacts: int) -> None:
        self._database = database
        self._max_contacts = max_contacts

    async def register(self, commands: list[RegisterCommand]) -> list[RegisterVerdict]:
        """Apply REGISTER commands, each user at most once. Raises StoreError."""

        async def work(connection: Connection) -> list[RegisterVerdict]:
            return await self._judge(connection, commands)

        return await self._database.transact(work)

    async def _judge(self, connection: Connection, commands: Sequence[RegisterCommand]) -> list[RegisterVerdict]:
        await lock_users(connection, [command.presentity_hash for command in commands])
        users = [split_aor(command.aor) for command in commands]
        hashes = [command.presentity_hash for command in commands]
        held: list[list[Binding]] = [[] for _ in commands]
        for ordinal, *values in await connection.fetch(_READ, hashes, *_turned(users, 2)):
            held[ordinal - 1].append(Binding(*values))
        now: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        verdicts = [
            judge_register(command, rows, now, self._max_contacts)
            for command, rows in zip(commands, held, strict=True)
        ]
        rows = [
            (command.presentity_hash, *user, *_values(binding))
            for command, user, verdict in zip(commands, users, verdicts, strict=True)
            for binding in verdict.written
        ]
        if rows:
            await connection.execute(_WRITE, *_turned(rows, 3 + len(_COLUMNS)))
        return verdicts


class RegistersHandler:
    """One batch of REGISTERs in, one batch of replies out, in the same order."""

    def __init__(self, register: RegisterFlow) -> None:
        self._register = register
        self._read = msgspec.msgpack.Decoder(RegisterBatch).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """The replies to the calls in the body; raises msgspec.MsgspecError for a body that is no RegisterBatch."""
        replies = self._register.handle_register(self._read(body).calls)
        waiting = [reply for reply in replies if not isinstance(reply, Reply)]
        if waiting:
            await asyncio.wait(waiting)
        return self._write(ReplyBatch([reply if isinstance(reply, Reply) else reply.result() for reply in replies]))


_values = attrgetter(*_COLUMNS)


def _turned(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """The columns of the rows."""
    return [[row[place] for row in rows] for place in range(width)]
