"""`vedette explain`: what a watcher sees of somebody, which rule decided it, and what was left out."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vedette.rules.decision import Basis
from vedette.rules.ruling import ACTIVE, PENDING, Ruling, said
from vedette.sip.uri import split_aor
from vedette.store.explaining import Explanation, explain_watcher
from vedette_cli.commands.in_database import Connection, DatabaseOption, find_database, in_database
from vedette_cli.commands.in_force import what_is_in_force
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.stored_rules import EventOption, UriArgument, find_address, find_presentity
from vedette_cli.commands.terminal import say

ANONYMOUS = "anonymous"


def explain(
    uri: UriArgument,
    seen_by: Annotated[
        str,
        typer.Option("--seen-by", metavar="URI", help=f"The watcher; {ANONYMOUS}: one who does not say who he is."),
    ],
    event: EventOption = "presence",
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a watcher sees of somebody now: what decided it, what was left out, and the document."""
    whose = find_presentity(uri, event)
    watcher = (
        (ANONYMOUS, "anonymous.invalid") if seen_by == ANONYMOUS else split_aor(find_address(seen_by, "--seen-by"))
    )
    defaults, mixes_calls = what_is_in_force(data)

    async def work(connection: Connection) -> Explanation:
        return await explain_watcher(connection, whose, watcher, defaults, time.time(), mixes_calls=mixes_calls)

    found = in_database(find_database(data, database_url), work)
    if as_json:
        say(json.dumps(_facts(found)))
        return
    name = f"sip:{watcher[0]}@{watcher[1]}"
    preposition = "of" if found.ruling.status == ACTIVE else "by" if found.ruling.status != PENDING else "about"
    lines = [
        f"{name} {said(found.ruling)} {preposition} {whose.uri} ({event})",
        f"  {_why(found)}",
        *(
            f"  {verdict.id} {'matches' if verdict.matched else 'does not match'}: {verdict.why}"
            for verdict in found.verdicts
        ),
        *([f"  sphere: {found.sphere}"] if found.sphere is not None else []),
        *([f"  may change at {_time(found.ruling.until)}"] if found.ruling.until is not None else []),
        *(f"  left out: {item}" for item in found.removed),
        *(["", found.document.decode(errors="replace")] if found.document else []),
    ]
    for line in lines:
        if not say(line):
            break


def _why(found: Explanation) -> str:
    if found.forced:
        return "force_active=1: nobody is asked"
    if found.by_hand is not None:
        return "decided by hand, which goes before all rules"
    decision = found.decision
    match decision.basis:
        case Basis.OWN:
            return "nobody is kept from what is his own"
        case Basis.DEFAULT:
            return f"there are no rules; without them: {decision.handling.text}"
        case Basis.UNREADABLE:
            return f"there are rules that cannot be read, so nobody is let in: {found.unreadable}"
    if not decision.matched:
        return "there are rules, and none of them matches"
    return f"decided by {', '.join(decision.matched)}: {decision.handling.text}"


def _facts(found: Explanation) -> dict[str, Any]:
    ruling = found.ruling
    return {
        "status": _status(ruling),
        "reason": ruling.reason,
        "shows": ruling.shows,
        "until": None if ruling.until is None else _time(ruling.until),
        "basis": "force_active"
        if found.forced
        else "hand"
        if found.by_hand is not None
        else found.decision.basis.value,
        "why": _why(found),
        "matched": list(found.decision.matched),
        "verdicts": [{"id": item.id, "matched": item.matched, "why": item.why} for item in found.verdicts],
        "sphere": found.sphere,
        "removed": list(found.removed),
        "content_type": found.content_type,
        "document": found.document.decode(errors="replace"),
    }


def _basis(found: Explanation) -> str:
    if found.forced:
        return "force_active"
    return "hand" if found.by_hand is not None else found.decision.basis.value


def _status(ruling: Ruling) -> str:
    return {ACTIVE: "active", PENDING: "pending"}.get(ruling.status, "terminated")


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
