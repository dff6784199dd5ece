"""`vedette registration`: where users have registered (registrar=on)."""

from typing import Annotated

import typer

from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.commands.listing import Column, left
from vedette_cli.commands.rest_command import DomainFilter, LimitOption, Rest, rest_command
from vedette_cli.commands.terminal import fail

registration_app = typer.Typer(help="Where users have registered (registrar=on).", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER@DOMAIN", help="Like alice@example.com.")]

_COLUMNS = (
    Column("USER", "user"),
    Column("CONTACT", "contact"),
    Column("RECEIVED", "received"),
    Column("EXPIRES IN", left("expires")),
    Column("USER AGENT", "user_agent"),
    Column("ID", "id"),
)


@registration_app.callback()
def _group() -> None:
    """Where users have registered (registrar=on)."""


@rest_command(registration_app, "list")
def list_registrations(rest: Rest, domain: DomainFilter = None, limit: LimitOption = 1000) -> None:
    """List all registrations."""
    rest.rows("registrations", columns=_COLUMNS, query={"domain": domain}, limit=limit)


@rest_command(registration_app, "show")
def show(rest: Rest, user: UserArgument) -> None:
    """Show where a user has registered, with all that his devices said."""
    found = list(rest.client.items("registrations", query={"user": user}, limit=0))
    if not found:
        fail(f"{user} has not registered", ExitCode.REFUSED)
    for number, item in enumerate(found):
        if number and not rest.as_json:
            typer.echo("")
        rest.one(item)


@rest_command(registration_app, "remove")
def remove(
    rest: Rest, user: UserArgument, id_: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]
) -> None:
    """Remove a registration; a phone that is alive registers again when its time comes."""
    rest.client.call("DELETE", "registrations", user, id_)
    rest.done(None, f"removed a registration of {user}")
