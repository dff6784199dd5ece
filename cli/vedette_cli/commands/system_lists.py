"""`vedette audit|queue|settings|package|cleanup`: what concerns the system as a whole."""

from datetime import datetime
from typing import Annotated

import typer

from vedette_cli.commands.listing import Column, moment, plain
from vedette_cli.commands.rest_command import DomainFilter, LimitOption, Rest, asking_rest, rest_command

audit_app = typer.Typer(help="Who changed what.", no_args_is_help=True)
package_app = typer.Typer(help="The event packages that are served.", no_args_is_help=True)

_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
_AUDIT = (
    Column("ID", "id"),
    Column("AT", moment("at")),
    Column("ACTOR", "actor"),
    Column("SOURCE", "source"),
    Column("OPERATION", "operation"),
    Column("STATUS", "status"),
    Column("TARGET", "target"),
    Column("DETAIL", "detail"),
)
_SETTINGS = (
    Column("PARAMETER", "name"),
    Column("VALUE", "value"),
    Column("SOURCE", "source"),
    Column("SERVICES", "services"),
)
_PACKAGES = (
    Column("NAME", "name"),
    Column("DEFAULT EXPIRES", "default_expires"),
    Column("PUBLISHED AS", "publish_types"),
    Column("NOTIFIED AS", "notify_types"),
)


@audit_app.callback()
def _audit_group() -> None:
    """Who changed what."""


@package_app.callback()
def _package_group() -> None:
    """The event packages that are served."""


@rest_command(audit_app, "list")
def list_audit(
    rest: Rest,
    actor: Annotated[str | None, typer.Option(help="Only what this token did, by its name.")] = None,
    operation: Annotated[str | None, typer.Option(help="Only this, like terminate_subscription.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only since then, UTC.", formats=_MOMENTS)] = None,
    until: Annotated[datetime | None, typer.Option(help="Only until then, UTC.", formats=_MOMENTS)] = None,
    domain: DomainFilter = None,
    limit: LimitOption = 100,
) -> None:
    """List the changes that were asked for, the newest first."""
    query = {
        "actor": actor,
        "operation": operation,
        "target": target,
        "since": None if since is None else f"{since.isoformat()}Z",
        "until": None if until is None else f"{until.isoformat()}Z",
        "domain": domain,
    }
    rest.rows("audit", columns=_AUDIT, query=query, limit=limit)


@rest_command(package_app, "list")
def list_packages(rest: Rest) -> None:
    """List the event packages that are served, and their media types."""
    rest.print(rest.client.get("event-packages")["items"], _PACKAGES)


@asking_rest
def queue(rest: Rest) -> None:
    """Show what is waiting: changes to tell, NOTIFYs without an answer, what should have ended."""
    rest.one(rest.client.get("queues"))


@asking_rest
def settings(
    rest: Rest, name: Annotated[str | None, typer.Argument(help="Only parameters whose name holds this.")] = None
) -> None:
    """List the parameters that the processes of the whole system run with, passwords masked.

    One that has two values in two processes comes twice.
    """
    found = rest.client.get("settings")
    rest.print([item for item in found["items"] if name is None or name in item["name"]], _SETTINGS)
    if found["silent"]:
        typer.echo(f"these did not say: {plain(found['silent'])}", err=True)


@asking_rest
def cleanup(rest: Rest) -> None:
    """End what is over and remove what nobody needs any more, at once."""
    found = rest.client.call("POST", "cleanup")
    rest.done(found, f"ended {found['ended']}, removed {found['removed']}")
