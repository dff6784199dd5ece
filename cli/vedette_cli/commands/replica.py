"""`vedette replica`: every process of every service."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.commands.listing import Column, duration, octets
from vedette_cli.commands.rest_command import Rest, rest_command
from vedette_cli.commands.terminal import fail

replica_app = typer.Typer(help="Every process of every service.", no_args_is_help=True)


def load_text(name: str, row: Mapping[str, Any]) -> str:
    """A figure of a process's load as text; "-" where it says none."""
    load = row.get("load")
    if load is None or load.get(name) is None:
        return "-"
    match name:
        case "cpu":
            return f"{load[name]:.0%}"
        case "lag":
            return f"{load[name] * 1000:.0f} ms"
    return octets(load[name])


COLUMNS = (
    Column("SERVICE", "service"),
    Column("INSTANCE", "instance"),
    Column("ADDRESS", "address"),
    Column("HOST", "host"),
    Column("PID", "pid"),
    Column("VERSION", "version"),
    Column("READY", "ready"),
    Column("UP", lambda row: duration(row["uptime"])),
    Column("SEEN AGO", lambda row: f"{row['seen']:.1f}s"),
    Column("CPU", lambda row: load_text("cpu", row)),
    Column("LAG", lambda row: load_text("lag", row)),
    Column("MEMORY", lambda row: load_text("memory", row)),
)


@replica_app.callback()
def _group() -> None:
    """Every process of every service."""


@rest_command(replica_app, "list")
def list_replicas(
    rest: Rest, service: Annotated[str | None, typer.Option(help="Only those of this service, like notifier.")] = None
) -> None:
    """List every process of every service that was seen within the last minute."""
    items = rest.client.get("replicas")["items"]
    rest.print([item for item in items if service in {None, item["service"]}], COLUMNS)


@rest_command(replica_app, "show")
def show(
    rest: Rest, instance: Annotated[str, typer.Argument(help="As `vedette replica list` shows it, or its beginning.")]
) -> None:
    """Show a process, and how busy it is."""
    found = [item for item in rest.client.get("replicas")["items"] if item["instance"].startswith(instance)]
    if len(found) != 1:
        fail(f"{instance!r} is the beginning of {len(found)} instances; see vedette replica list", ExitCode.REFUSED)
    rest.one(found[0])
