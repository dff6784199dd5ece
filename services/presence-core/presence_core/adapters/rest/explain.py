"""Why a watcher sees what he sees of a presentity."""

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.names import EventName, event_of, user_of
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import NO_NUL
from presence_core.adapters.rest.parts import Parts
from vedette.identity import presentity
from vedette.rules.ruling import ACTIVE, PENDING, said
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role
from vedette.store.explaining import explain_watcher

Uri = Annotated[str, Query(max_length=1024, pattern=NO_NUL)]


class RuleView(BaseModel):
    """What a rule says of the watcher."""

    id: str
    matched: bool
    why: str


class ExplanationView(BaseModel):
    """What becomes of a watcher, and why."""

    presentity: str
    event: str
    watcher: str
    status: str = Field(description="active, pending or terminated.")
    sees: str = Field(description="In words.")
    basis: str = Field(description="What decided: force_active, hand, or what the rules are: own, default, rules ...")
    handling: str = Field(description="What the rules alone say: allow, polite-block, confirm or block.")
    rules: list[RuleView]
    unreadable: str | None = Field(description="Why the rules cannot be used, where that decided.")
    sphere: str | None
    until: datetime | None = Field(description="When it may change by itself.")
    removed: list[str] = Field(description="What rules have taken out of the document.")
    content_type: str
    document: str = Field(description="What he sees; empty: nothing.")


_EXAMPLE = {
    "presentity": "sip:alice@example.com",
    "event": "presence",
    "watcher": "sip:bob@example.com",
    "status": "active",
    "sees": "sees a part",
    "basis": "rules",
    "handling": "allow",
    "rules": [{"id": "friends", "matched": True, "why": "identity: one sip:bob@example.com"}],
    "unreadable": None,
    "sphere": None,
    "until": None,
    "removed": ["note"],
    "content_type": "application/pidf+xml",
    "document": '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"/>',
}


def add_explain(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    @operations.add("GET", "/explain", tag="rules", role=Role.READER, errors=(422,), example=_EXAMPLE)
    async def explain(
        caller: CallerDep,
        whose: Annotated[Uri, Query(alias="presentity", description="Whom he watches, like sip:alice@example.com.")],
        watcher: Annotated[Uri, Query(description="Who watches, like sip:bob@example.com.")],
        event: EventName = "presence",
    ) -> ExplanationView:
        """Say what a watcher sees of a presentity now, and what decided it."""
        aor = user_of(parts.aor_of(whose, "query.presentity"), "query.presentity")
        caller.must_see(aor)
        event_of(event, "query.event")
        name = parts.aor_of(watcher, "query.watcher")
        found = await explain_watcher(
            parts.database,
            presentity(aor, event),
            split_aor(name),
            parts.defaults,
            time.time(),
            mixes_calls=parts.mixes_calls,
        )
        ruling = found.ruling
        basis = (
            "force_active" if found.forced else "hand" if found.by_hand is not None else found.decision.basis.value
        )
        return ExplanationView(
            presentity=aor,
            event=event,
            watcher=name,
            status={ACTIVE: "active", PENDING: "pending"}.get(ruling.status, "terminated"),
            sees=said(ruling),
            basis="force_active" if found.forced else basis,
            handling=found.decision.handling.text,
            rules=[RuleView(id=item.id, matched=item.matched, why=item.why) for item in found.verdicts],
            unreadable=None if found.unreadable is None else str(found.unreadable),
            sphere=found.sphere,
            until=None if ruling.until is None else datetime.fromtimestamp(ruling.until, UTC),
            removed=list(found.removed),
            content_type=found.content_type,
            document=found.document.decode("utf-8", "replace"),
        )
