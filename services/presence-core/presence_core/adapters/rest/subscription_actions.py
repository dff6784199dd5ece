"""What can be done with subscriptions: send again, end; and with all that watch a presentity: refresh."""

import time
from enum import StrEnum
from typing import Annotated, Literal

import asyncpg
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.audited import Connection, elsewhere, entry, in_transaction
from presence_core.adapters.rest.names import EventName
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.rest.subscriptions import SubscriptionId, find_subscription, watcher_name
from vedette.identity import presentity_hash
from vedette.live import LiveEvent
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role
from vedette.store.audit import AuditEntry
from vedette.store.dialog_tables import scripts

_AGAIN = "SELECT becomes FROM notify_again_v1($1, $2, $3, $4)"
_TERMINATE = "SELECT terminate_dialog_v1($1, $2, $3)"

Becomes = Literal["owed", "outstanding", "unreachable"]


class Reason(StrEnum):
    """Why a subscription ends, as Subscription-State has it (RFC 6665 section 4.1.3)."""

    DEACTIVATED = "deactivated"
    PROBATION = "probation"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    GIVEUP = "giveup"
    NORESOURCE = "noresource"


class Resent(BaseModel):
    """What becomes of the NOTIFY."""

    notify: Becomes = Field(
        description="owed: it is sent at once; outstanding: after the one that is on its way; unreachable: with the "
        "watcher's next SUBSCRIBE."
    )


class Termination(BaseModel):
    """How a subscription is to end."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(
        Reason.DEACTIVATED,
        description="deactivated: the watcher subscribes again at once; probation: later; rejected, noresource: not; "
        "timeout, giveup: when it likes.",
    )


class Terminated(BaseModel):
    """What became of it."""

    reason: Reason
    told: bool = Field(description="Whether the watcher gets a last NOTIFY; not where nobody reaches it.")


class Refreshed(BaseModel):
    """What becomes of the NOTIFYs, by how many."""

    owed: int
    outstanding: int
    unreachable: int


def add_subscription_actions(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "POST",
        "/subscriptions/{id}/resend",
        tag="subscriptions",
        role=Role.OPERATOR,
        errors=(404, 409, 422),
        example={"notify": "owed"},
    )
    async def resend_notify(caller: CallerDep, id: SubscriptionId) -> Resent:  # noqa: A002
        """Send the state in a subscription again, whatever its watcher has."""
        await parts.know_dialogs()
        row = await find_subscription(parts, caller, id)
        presentity = (row["presentity_hash"], row["presentity_uri"], row["event"])
        found = entry(
            caller, "resend_notify", id, domain=split_aor(presentity[1])[1], detail={"presentity": presentity[1]}
        )
        becomes = await _notify_again(parts, found, presentity, row["dialog_id"])
        if not becomes:
            raise RestError(409, "nothing is sent in this subscription any more", where="path.id")
        return Resent(notify=becomes[0])

    @operations.add(
        "POST",
        "/subscriptions/{id}/terminate",
        tag="subscriptions",
        role=Role.OPERATOR,
        errors=(404, 422),
        example={"reason": "deactivated", "told": True},
    )
    async def terminate_subscription(
        caller: CallerDep,
        id: SubscriptionId,  # noqa: A002
        asked: Termination | None = None,
    ) -> Terminated:
        """End a subscription: its watcher gets a last NOTIFY with the reason."""
        await parts.know_dialogs()
        row = await find_subscription(parts, caller, id)
        reason = (asked or Termination()).reason
        domain = split_aor(row["presentity_uri"])[1]
        detail = {"presentity": row["presentity_uri"], "event": row["event"], "reason": str(reason)}
        found = entry(caller, "terminate_subscription", id, domain=domain, detail=detail)
        became = await _terminate(parts, found, row["presentity_hash"], row["dialog_id"], reason)
        if became is None:
            raise RestError(404, "there is no live subscription with this id", where="path.id")
        await parts.ring()
        if parts.live.teller.wanted:
            parts.live.teller.tell([_ended(row, reason)])
        return Terminated(reason=reason, told=became == "told")

    @operations.add(
        "POST",
        "/watchers/refresh",
        tag="watchers",
        role=Role.OPERATOR,
        errors=(404, 422),
        example={"owed": 12, "outstanding": 1, "unreachable": 0},
    )
    async def refresh_watchers(
        caller: CallerDep,
        presentity: Annotated[
            str, Query(max_length=1024, pattern=NO_NUL, description="Whose watchers, like sip:alice@example.com.")
        ],
        event: EventName = "presence",
    ) -> Refreshed:
        """Send every watcher of a presentity a NOTIFY, whatever it has."""
        aor = parts.aor_of(presentity, "query.presentity")
        caller.must_see(aor)
        found = entry(caller, "refresh_watchers", aor, domain=split_aor(aor)[1], detail={"event": event})
        becomes = await _notify_again(parts, found, (presentity_hash(aor), aor, event), None)
        if not becomes:
            raise RestError(404, f"nobody watches {aor} for the event {event}", where="query.presentity")
        return Refreshed(
            owed=becomes.count("owed"),
            outstanding=becomes.count("outstanding"),
            unreachable=becomes.count("unreachable"),
        )


def _ended(row: asyncpg.Record, reason: Reason) -> LiveEvent:
    return LiveEvent(
        kind="subscription",
        what="removed",
        time=time.time(),
        presentity=row["presentity_uri"],
        event=row["event"],
        id=row["to_tag"],
        watcher=watcher_name(row),
        reason=str(reason),
    )


async def _notify_again(
    parts: Parts, found: AuditEntry, presentity: tuple[int, str, str], dialog_id: bytes | None
) -> list[Becomes]:
    """What becomes of the NOTIFYs to one dialog, or to all; none where there is nobody to tell. Raises StoreError."""
    hash_, uri, event = presentity
    if parts.dialogs is not None:
        tables = parts.dialogs.tables
        arguments = (f"{event}|{uri}", "" if dialog_id is None else dialog_id.hex())
        bucket = tables.bucket(hash_)

        async def in_redis() -> list[Becomes]:
            answers = await tables.run(scripts.NOTIFY_AGAIN, {bucket: arguments})
            return [becomes.decode() for becomes in answers[bucket]]

        becomes = await elsewhere(parts.database, found, in_redis)
    else:

        async def in_postgres(connection: Connection) -> list[Becomes] | None:
            rows = await connection.fetch(_AGAIN, hash_, uri, event, dialog_id)
            return [row["becomes"] for row in rows] or None

        becomes = await in_transaction(parts.database, found, in_postgres) or []
    if becomes:
        await parts.ring()
    return becomes


async def _terminate(parts: Parts, found: AuditEntry, hash_: int, dialog_id: bytes, reason: Reason) -> str | None:
    """`told` or `untold`; None where the dialog has ended meanwhile. Raises StoreError."""
    if parts.dialogs is None:

        async def in_postgres(connection: Connection) -> str | None:
            became: str | None = await connection.fetchval(_TERMINATE, hash_, dialog_id, str(reason))
            return became

        return await in_transaction(parts.database, found, in_postgres)
    tables = parts.dialogs.tables

    async def in_redis() -> str | None:
        bucket = tables.bucket(hash_)
        answers = await tables.run(scripts.TERMINATE, {bucket: (dialog_id.hex(), str(reason))})
        became, watcher = (text.decode() for text in answers[bucket])
        if not became:
            return None
        await tables.watchers({watcher: ([dialog_id.hex()], [])})
        return str(became)

    return await elsewhere(parts.database, found, in_redis)
