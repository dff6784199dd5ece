"""`vedette ban`: who is kept out by the edges, and until when."""

import ipaddress
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from vedette.sip.source import source_of
from vedette.store import bans
from vedette_cli.commands.audited import write_down
from vedette_cli.commands.in_database import Connection, DatabaseOption, find_database, in_database
from vedette_cli.commands.options import DataOption
from vedette_cli.commands.terminal import fail

ban_app = typer.Typer(help="The sources that the edges keep out.", no_args_is_help=True)

MAX_REASON = 255
LONGEST = timedelta(days=3650)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([0-9]{1,9})([smhd]?)")

SourceArgument = Annotated[
    str,
    typer.Argument(metavar="ADDRESS", help="An IPv4 address, or an IPv6 address or /64, which is banned as a whole."),
]


@ban_app.callback()
def _group() -> None:
    """The sources that the edges keep out."""


@ban_app.command("list")
def list_bans(
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each line.")] = False,
) -> None:
    """List who is banned: a source, or a user for a source whose passwords there were wrong."""
    for row in in_database(find_database(data, database_url), bans.current):
        until = row["until"].isoformat(timespec="seconds")
        if as_json:
            facts = {name: row[name] for name in ("source", "username", "strikes", "reason")}
            typer.echo(json.dumps({**facts, "until": until}))
        else:
            subject = f"{row['source']} {row['username']}".rstrip()
            typer.echo(f"{subject}  until {until}  ({row['reason'] or 'no reason given'}, strike {row['strikes']})")


@ban_app.command("add")
def add(
    address: SourceArgument,
    time: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 12h, 7d.")] = "1d",
    reason: Annotated[str, typer.Option(help="For whoever reads the list.")] = "by hand",
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
) -> None:
    """Ban a source, or change until when it is. Edges know it within a second; trusted_peers are let in yet."""
    source, seconds = _source(address), _seconds(time)
    if len(reason) > MAX_REASON or not reason.isprintable():
        fail(f"--reason has a control character, or more than {MAX_REASON} characters", 2)

    async def work(connection: Connection) -> None:
        await bans.add(connection, source, float(seconds), reason)
        await write_down(connection, "add_ban", source, 200, detail={"seconds": seconds, "reason": reason})

    in_database(find_database(data, database_url), work)
    typer.echo(f"banned {source} for {timedelta(seconds=seconds)}")


@ban_app.command("remove")
def remove(
    address: SourceArgument,
    user: Annotated[
        str | None,
        typer.Argument(
            metavar="[USER@DOMAIN]", help="Only the lock of this user there; without it, all of the source."
        ),
    ] = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
) -> None:
    """End the bans of a source. Edges know it within a second; the next ban is a first one again."""
    source = _source(address)

    async def work(connection: Connection) -> bool:
        lifted = bool(await bans.lift(connection, source, user))
        if lifted:
            await write_down(connection, "remove_ban", source, 200, detail={"user": user})
        return lifted

    if not in_database(find_database(data, database_url), work):
        fail(f"{source} is not banned" if user is None else f"{user} is not locked for {source}")
    typer.echo(f"removed {source if user is None else f'{user} at {source}'}")


def _source(address: str) -> str:
    """The source that an address is counted with; ends the command where it is none."""
    text = address.strip("[]").lower()
    try:
        if "/" in text:
            network = ipaddress.ip_network(text)
            if network.version == 4 and network.prefixlen == 32:
                return str(network.network_address)
            if network.version == 6 and network.prefixlen == 64:
                return str(network)
            fail(f"{address}: bans are for an IPv4 address or an IPv6 /64; a firewall keeps networks out", 2)
        return source_of(str(ipaddress.ip_address(text)))
    except ValueError:
        fail(f"{address!r} is no IP address", 2)


def _seconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2] or "s"] if match is not None else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        fail(f"--for {text}: write it like 90s, 30m, 12h or 7d, up to {LONGEST.days}d", 2)
    return seconds
