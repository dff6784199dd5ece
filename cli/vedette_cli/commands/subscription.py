"""`vedette subscription`: who watches whom, what was sent, sending it again, ending it."""

from typing import Annotated, Literal

import typer

from vedette_cli.commands.listing import Column, ago, left
from vedette_cli.commands.rest_command import DomainFilter, EventFilter, LimitOption, Rest, rest_command

subscription_app = typer.Typer(help="Who watches whom, and what was sent.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `vedette subscription list` shows it.")]
Reason = Literal["deactivated", "probation", "rejected", "timeout", "giveup", "noresource"]
Status = Literal["active", "pending", "terminated", "waiting"]

_COLUMNS = (
    Column("PRESENTITY", "presentity"),
    Column("EVENT", "event"),
    Column("WATCHER", "watcher"),
    Column("STATUS", "status"),
    Column("AGE", ago("created")),
    Column("EXPIRES IN", left("expires")),
    Column("SOURCE", lambda row: f"{row['transport']}:{row['source']}"),
    Column("FAILURES", "notify_failures"),
    Column("ID", "id"),
)
_OUTCOMES = {
    "owed": "a NOTIFY is owed and comes at once",
    "outstanding": "a NOTIFY is under way; the next one follows its answer",
}


@subscription_app.callback()
def _group() -> None:
    """Who watches whom, and what was sent."""


@rest_command(subscription_app, "list")
def list_subscriptions(
    rest: Rest,
    presentity: Annotated[str | None, typer.Option(metavar="URI", help="Only those to this one.")] = None,
    watcher: Annotated[str | None, typer.Option(metavar="URI", help="Only those of this one.")] = None,
    domain: DomainFilter = None,
    event: EventFilter = None,
    status: Annotated[Status | None, typer.Option(help="Only those with this status.")] = None,
    edge: Annotated[str | None, typer.Option(metavar="INSTANCE", help="Only those of this edge.")] = None,
    min_age: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Only as old or older.")] = None,
    max_age: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Only as old or younger.")] = None,
    limit: LimitOption = 1000,
) -> None:
    """List the live subscriptions."""
    query: dict[str, str | float | None] = {
        "presentity": presentity,
        "watcher": watcher,
        "domain": domain,
        "event": event,
        "status": status,
        "edge": edge,
        "min_age": min_age,
        "max_age": max_age,
    }
    rest.rows("subscriptions", columns=_COLUMNS, query=query, limit=limit)


@rest_command(subscription_app, "show")
def show(rest: Rest, id_: IdArgument) -> None:
    """Show a subscription: its dialog, and what was sent in it."""
    rest.one(rest.client.get("subscriptions", id_))


@rest_command(subscription_app, "resend")
def resend(rest: Rest, id_: IdArgument) -> None:
    """Send the state in a subscription again, whatever its watcher has."""
    found = rest.client.call("POST", "subscriptions", id_, "resend")
    rest.done(found, _OUTCOMES.get(found["notify"], found["notify"]))


@rest_command(subscription_app, "terminate")
def terminate(
    rest: Rest,
    id_: IdArgument,
    reason: Annotated[
        Reason,
        typer.Option(
            help="deactivated: the watcher subscribes again at once; probation: later; rejected, noresource: not; "
            "timeout, giveup: when it likes."
        ),
    ] = "deactivated",
) -> None:
    """End a subscription: its watcher gets a last NOTIFY with the reason."""
    found = rest.client.call("POST", "subscriptions", id_, "terminate", body={"reason": reason})
    told = "is told" if found["told"] else "cannot be reached now"
    rest.done(found, f"ended ({found['reason']}); its watcher {told}")
