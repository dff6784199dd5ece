"""`vedette token`: who may use REST."""

import json
import re
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record, split_aor
from vedette.store import api_tokens
from vedette.store.api_tokens import Role
from vedette_cli.commands.audited import write_down
from vedette_cli.commands.in_database import Connection, DatabaseOption, find_database, in_database
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.terminal import fail

token_app = typer.Typer(help="The tokens that REST asks for (api_auth=token).", no_args_is_help=True)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=3650)


@token_app.callback()
def _group() -> None:
    """The tokens that REST asks for (api_auth=token)."""


@token_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; stands in the audit log.")],
    role: Annotated[Role, typer.Option(help="What it may do; each role may what those before it may.")] = Role.READER,
    domain: Annotated[
        str | None, typer.Option(help="It sees and changes only presentities of this domain. Without it: the system.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it is over, from now: 90d, 12h, 30m. Without it: never.")
    ] = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print it: this once, since only a hash of it is kept."""
    if not 0 < len(name) <= 100 or not name.isprintable():
        fail("NAME: from 1 to 100 characters that can be printed", 2)
    scope, lifetime = _domain(domain), _lifetime(expires)
    token = api_tokens.make_token(secrets.token_bytes)

    async def work(connection: Connection) -> asyncpg.Record | None:
        row = await api_tokens.add(connection, token, name, role, scope, lifetime)
        if row is not None:
            detail = {"name": name, "role": str(role), "domain": scope, "expires": row["expires"]}
            await write_down(connection, "create_token", row["id"], 201, detail=detail)
        return row

    row = in_database(find_database(data, database_url), work)
    if row is None:
        fail(f"there is a token {name!r} already; revoke it first: vedette token revoke {name}")
    if as_json:
        typer.echo(json.dumps({**_facts(row), "token": token.text}))
    else:
        typer.echo(token.text)


@token_app.command("list")
def list_tokens(
    data: DataOption = Path(".vedette"), database_url: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """List the tokens, those that are over or revoked, too; never what is secret of them."""
    for row in in_database(find_database(data, database_url), api_tokens.tokens):
        if as_json:
            typer.echo(json.dumps({**_facts(row), "counts": row["counts"]}))
            continue
        state = "revoked" if row["revoked"] else "" if row["counts"] else "over"
        used = f"used {_time(row['last_used'])}" if row["last_used"] else "never used"
        ends = f"until {_time(row['expires'])}" if row["expires"] and row["counts"] else state
        facts = (row["id"], row["name"], row["role"], row["domain"] or "all domains", used, ends)
        typer.echo("  ".join(fact for fact in facts if fact))


@token_app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME|ID", help="Which one.")],
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
) -> None:
    """Have a token count no more. REST learns it within five seconds."""

    async def work(connection: Connection) -> asyncpg.Record | None:
        row = await api_tokens.revoke(connection, name)
        if row is not None:
            await write_down(connection, "revoke_token", row["id"], 200, detail={"name": row["name"]})
        return row

    row = in_database(find_database(data, database_url), work)
    if row is None:
        fail(f"there is no token {name!r} that counts; see vedette token list")
    typer.echo(f"revoked {row['name']} ({row['id']})")


def _domain(text: str | None) -> str | None:
    """The domain as presentities have it; ends the command where it is none."""
    if text is None:
        return None
    try:
        user, domain = split_aor(address_of_record(f"sip:user@{text}"))
    except SipError as error:
        fail(f"--domain: {text!r} is no domain ({error.reason})", 2)
    if user != "user" or not domain:
        fail(f"--domain: {text!r} is no domain", 2)
    return domain


def _lifetime(text: str | None) -> timedelta | None:
    """How long; ends the command where that cannot be told."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        fail(f"--expires: {text!r} is no time; write it like 90d, 12h, 30m or 60s", 2)
    lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if lifetime > _LONGEST:
        fail(f"--expires: {text!r} is more than {_LONGEST.days} days; leave it out for a token without an end", 2)
    return lifetime


def _facts(row: asyncpg.Record) -> dict[str, object]:
    times = {name: _time(row[name]) for name in ("created", "expires", "last_used", "revoked")}
    return {"id": row["id"], "name": row["name"], "role": row["role"], "domain": row["domain"], **times}


def _time(value: object) -> str | None:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else None
