"""`vedette user`: who may prove with digest who they are (`auth=digest`)."""

import getpass
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from vedette.store import subscribers
from vedette_cli.commands.audited import write_down
from vedette_cli.commands.in_database import Connection, DatabaseOption, find_database, in_database
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.rest_command import InsteadOption, TokenFileOption, asking
from vedette_cli.commands.terminal import fail

user_app = typer.Typer(help="The users who prove with digest who they are (auth=digest).", no_args_is_help=True)


NameArgument = Annotated[str, typer.Argument(metavar="USER@DOMAIN", help="Like alice@example.com.")]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="Read the password from this file; without it, it is asked for, or read from stdin."
    ),
]


@user_app.callback()
def _group() -> None:
    """The users who prove with digest who they are (auth=digest)."""


@user_app.command("add")
def add(
    name: NameArgument,
    password_file: PasswordFileOption = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Add a user. What is stored is a hash of the password for each algorithm, never the password."""
    username, domain = _split(name)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            asked = {"user": f"{username}@{domain}", "password": _read_password(password_file)}
            rest.client.call("POST", "users", body=asked)
        typer.echo(f"added {username}@{domain}")
        return
    url = find_database(data, database_url)
    secrets = subscribers.secrets_of(username, domain, _read_password(password_file))

    async def work(connection: Connection) -> bool:
        added = await subscribers.add(connection, username, domain, secrets)
        if added:
            await write_down(connection, "add_user", f"{username}@{domain}", 201, domain=domain)
        return added

    if not in_database(url, work):
        fail(f"{username}@{domain} is there already; a new password: vedette user passwd {username}@{domain}")
    typer.echo(f"added {username}@{domain}")


@user_app.command("passwd")
def passwd(
    name: NameArgument,
    password_file: PasswordFileOption = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Give a user a new password."""
    username, domain = _split(name)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            asked = {"password": _read_password(password_file)}
            rest.client.call("PUT", "users", f"{username}@{domain}", "password", body=asked)
        typer.echo(f"changed the password of {username}@{domain}")
        return
    url = find_database(data, database_url)
    secrets = subscribers.secrets_of(username, domain, _read_password(password_file))

    async def work(connection: Connection) -> bool:
        changed = await subscribers.change(connection, username, domain, secrets)
        if changed:
            await write_down(connection, "set_password", f"{username}@{domain}", 200, domain=domain)
        return changed

    if not in_database(url, work):
        fail(f"there is no user {username}@{domain}")
    typer.echo(f"changed the password of {username}@{domain}")


@user_app.command("remove")
def remove(
    name: NameArgument,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Remove a user. Edges may know him for users_max_age seconds more; his publications and dialogs run out."""
    username, domain = _split(name)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            rest.client.call("DELETE", "users", f"{username}@{domain}")
        typer.echo(f"removed {username}@{domain}")
        return

    async def work(connection: Connection) -> bool:
        removed = await subscribers.remove(connection, username, domain)
        if removed:
            await write_down(connection, "remove_user", f"{username}@{domain}", 204, domain=domain)
        return removed

    if not in_database(find_database(data, database_url), work):
        fail(f"there is no user {username}@{domain}")
    typer.echo(f"removed {username}@{domain}")


@user_app.command("list")
def list_users(
    domain: Annotated[str | None, typer.Option(help="Only those of this domain.")] = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the users, and when each one's password was set."""
    wanted = domain.lower() if domain is not None else None
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            for item in rest.client.items("users", query={"domain": wanted}):
                _say(item["user"], item["domain"], datetime.fromisoformat(item["changed"]), as_json=as_json)
        return
    for row in in_database(
        find_database(data, database_url), lambda connection: subscribers.users(connection, wanted)
    ):
        _say(row["username"], row["domain"], row["changed"], as_json=as_json)


def _say(username: str, domain: str, changed: datetime, *, as_json: bool) -> None:
    when = changed.isoformat(timespec="seconds")
    if as_json:
        typer.echo(json.dumps({"username": username, "domain": domain, "changed": when}))
    else:
        typer.echo(f"{username}@{domain}  {when}")


def _split(name: str) -> tuple[str, str]:
    """User name, as digest has it, and domain; ends the command where the name is none."""
    try:
        return subscribers.name_of(name)
    except ValueError as error:
        fail(f"{error}; write it like alice@example.com", 2)


def _read_password(file: Path | None) -> str:
    """The password from the file, the terminal or stdin; ends the command where it is none."""
    if file is not None:
        try:
            password = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            fail(f"--password-file: cannot read {file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}", 2)
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            fail("the two passwords are not the same", 2)
    else:
        password = sys.stdin.readline()
    password = password.rstrip("\r\n")
    if not password:
        fail("the password is empty", 2)
    if len(password) > subscribers.MAX_PASSWORD or not password.isprintable():
        fail(f"the password has a control character, or more than {subscribers.MAX_PASSWORD} characters", 2)
    return password
