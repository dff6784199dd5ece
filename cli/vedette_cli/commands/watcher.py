"""`vedette watcher`: what was decided about those who watch, deciding it by hand, telling them again."""

from typing import Annotated, Literal

import typer

from vedette_cli.commands.listing import Column, moment
from vedette_cli.commands.rest_command import DomainFilter, EventFilter, LimitOption, Rest, UriArgument, rest_command

watcher_app = typer.Typer(
    help="What was decided about those who watch, and deciding it by hand.", no_args_is_help=True
)

WatcherArgument = Annotated[str, typer.Argument(metavar="WATCHER", help="Like sip:bob@example.com.")]
EventOption = Annotated[str, typer.Option("--event", help="The event package.")]
Status = Literal["active", "pending", "rejected"]

_COLUMNS = (
    Column("PRESENTITY", "presentity"),
    Column("EVENT", "event"),
    Column("WATCHER", "watcher"),
    Column("STATUS", "status"),
    Column("REASON", "reason"),
    Column("BY HAND", "by_hand"),
    Column("DECIDED", moment("decided")),
)
_DONE = {
    "approve": "may watch",
    "polite-block": "is shown somebody who is offline",
    "confirm": "waits for a decision",
    "block": "may not watch",
    "reset": "is left to the rules again",
}


@watcher_app.callback()
def _group() -> None:
    """What was decided about those who watch, and deciding it by hand."""


@rest_command(watcher_app, "list")
def list_watchers(
    rest: Rest,
    presentity: Annotated[str | None, typer.Option(metavar="URI", help="Only those of this one.")] = None,
    domain: DomainFilter = None,
    event: EventFilter = None,
    status: Annotated[Status | None, typer.Option(help="pending: those who wait for a decision.")] = None,
    by_hand: Annotated[bool, typer.Option("--by-hand", help="Only what a person decided.")] = False,
    limit: LimitOption = 1000,
) -> None:
    """List what was decided about watchers; who watches now: vedette subscription list."""
    query = {"presentity": presentity, "domain": domain, "event": event, "status": status}
    rest.rows("watchers", columns=_COLUMNS, query={**query, "by_hand": "true" if by_hand else None}, limit=limit)


@rest_command(watcher_app, "show")
def show(rest: Rest, uri: UriArgument, watcher: WatcherArgument, event: EventOption = "presence") -> None:
    """Show what a watcher sees of a presentity now, and what decided it."""
    rest.one(rest.client.get("explain", query={"presentity": uri, "watcher": watcher, "event": event}))


@rest_command(watcher_app, "approve")
def approve(rest: Rest, uri: UriArgument, watcher: WatcherArgument, event: EventOption = "presence") -> None:
    """Let somebody watch, whatever rules say. He is told at once."""
    _decide(rest, uri, watcher, event, "approve")


@rest_command(watcher_app, "block")
def block(
    rest: Rest,
    uri: UriArgument,
    watcher: WatcherArgument,
    event: EventOption = "presence",
    polite: Annotated[bool, typer.Option("--polite", help="Show him somebody who is offline instead.")] = False,
) -> None:
    """Keep somebody from watching, whatever rules say. His subscriptions end at once."""
    _decide(rest, uri, watcher, event, "polite-block" if polite else "block")


@rest_command(watcher_app, "reset")
def reset(rest: Rest, uri: UriArgument, watcher: WatcherArgument, event: EventOption = "presence") -> None:
    """Take back what was decided by hand: the rules decide again."""
    _decide(rest, uri, watcher, event, "reset")


@rest_command(watcher_app, "refresh")
def refresh(rest: Rest, uri: UriArgument, event: EventOption = "presence") -> None:
    """Send every watcher of a presentity a NOTIFY, whatever it has."""
    found = rest.client.call("POST", "watchers", "refresh", query={"presentity": uri, "event": event})
    words = f"{found['owed']} NOTIFYs are owed, {found['outstanding']} are under way, "
    rest.done(found, f"{words}{found['unreachable']} watchers cannot be reached now")


def _decide(rest: Rest, uri: str, watcher: str, event: str, decision: str) -> None:
    asked = {"presentity": uri, "watcher": watcher, "event": event, "decision": decision}
    found = rest.client.call("POST", "watchers", "decide", body=asked)
    before = "" if found["changed"] else ", as before"
    rest.done(found, f"{found['watcher']} {_DONE[found['decision']]} ({found['presentity']}, {event}){before}")
