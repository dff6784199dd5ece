"""`vedette user`: who may prove with digest who they are (`auth=digest`)."""

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote

import asyncpg
import typer

from vedette.runtime.parameters import PREFIX
from vedette.runtime.settings import StoreSettings, load_settings
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record, split_aor
from vedette.store import subscribers
from vedette_cli.commands.sip_options import fail
from vedette_cli.commands.up import DataOption
from vedette_cli.supervisor.control import NotRunningError, ask

user_app = typer.Typer(help="The users who prove with digest who they are (auth=digest).", no_args_is_help=True)

MAX_NAME = 255
MAX_PASSWORD = 1024
CONNECT_PATIENCE = 5.0

NameArgument = Annotated[str, typer.Argument(metavar="USER@DOMAIN", help="Like alice@example.com.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="This Postgres, where no set runs on --data; VEDETTE_DB_URL where it is absent, too."
    ),
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="Read the password from this file; without it, it is asked for, or read from stdin."
    ),
]

Answer = TypeVar("Answer")


@user_app.callback()
def _group() -> None:
    """The users who prove with digest who they are (auth=digest)."""


@user_app.command("add")
def add(
    name: NameArgument,
    password_file: PasswordFileOption = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
) -> None:
    """Add a user. What is stored is a hash of the password for each algorithm, never the password."""
    username, domain = _split(name)
    url = _database(data, database_url)
    secrets = subscribers.secrets_of(username, domain, _read_password(password_file))
    if not _run(url, lambda connection: subscribers.add(connection, username, domain, secrets)):
        fail(f"{username}@{domain} is there already; a new password: vedette user passwd {username}@{domain}")
    typer.echo(f"added {username}@{domain}")


@user_app.command("passwd")
def passwd(
    name: NameArgument,
    password_file: PasswordFileOption = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
) -> None:
    """Give a user a new password."""
    username, domain = _split(name)
    url = _database(data, database_url)
    secrets = subscribers.secrets_of(username, domain, _read_password(password_file))
    if not _run(url, lambda connection: subscribers.change(connection, username, domain, secrets)):
        fail(f"there is no user {username}@{domain}")
    typer.echo(f"changed the password of {username}@{domain}")


@user_app.command("remove")
def remove(name: NameArgument, data: DataOption = Path(".vedette"), database_url: DatabaseOption = None) -> None:
    """Remove a user. Edges may know him for users_max_age seconds more; his publications and dialogs run out."""
    username, domain = _split(name)
    if not _run(_database(data, database_url), lambda connection: subscribers.remove(connection, username, domain)):
        fail(f"there is no user {username}@{domain}")
    typer.echo(f"removed {username}@{domain}")


@user_app.command("list")
def list_users(
    domain: Annotated[str | None, typer.Option(help="Only those of this domain.")] = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each line.")] = False,
) -> None:
    """List the users, and when each one's password was set."""
    wanted = domain.lower() if domain is not None else None
    for row in _run(_database(data, database_url), lambda connection: subscribers.users(connection, wanted)):
        changed = row["changed"].isoformat(timespec="seconds")
        if as_json:
            typer.echo(json.dumps({"username": row["username"], "domain": row["domain"], "changed": changed}))
        else:
            typer.echo(f"{row['username']}@{row['domain']}  {changed}")


def _split(name: str) -> tuple[str, str]:
    """User name, as digest has it, and domain; ends the command where the name is none."""
    text = name if name.startswith(("sip:", "sips:")) else f"sip:{name}"
    try:
        username, domain = split_aor(address_of_record(text))
    except SipError as error:
        fail(f"{name!r} is no name of a user ({error.reason}); write it like alice@example.com", 2)
    username = unquote(username)
    if not username or len(username) > MAX_NAME or len(domain) > MAX_NAME:
        fail(f"{name!r} is no name of a user; write it like alice@example.com", 2)
    if ":" in username or not username.isprintable():
        fail(f"{name!r}: digest has no user name with a colon or a control character", 2)
    return username, domain


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
    if len(password) > MAX_PASSWORD or not password.isprintable():
        fail(f"the password has a control character, or more than {MAX_PASSWORD} characters", 2)
    return password


def _database(data: Path, database_url: str | None) -> str:
    """The database of the option, of the set that runs on the folder, or of the parameters."""
    if database_url is not None:
        return database_url
    try:
        answer = ask(data, {"command": "stores"})
    except NotRunningError as error:
        if f"{PREFIX}DB_URL" not in os.environ and f"{PREFIX}CONFIG" not in os.environ:
            fail(f"{error}, or name the database with --database-url")
    else:
        if "error" in answer:
            fail(str(answer["error"]), 2)
        return str(answer["db_url"])
    try:
        return load_settings(StoreSettings).database_url()
    except OSError as error:
        fail(f"{PREFIX}DB_PASSWORD_FILE: {error}", 2)


def _run(url: str, work: Callable[[subscribers.Connection], Awaitable[Answer]]) -> Answer:
    """What the work has found in the database; ends the command where it cannot be reached."""

    async def connected() -> Answer:
        connection = await asyncpg.connect(url, timeout=CONNECT_PATIENCE)
        try:
            return await work(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(connected())
    except asyncpg.UndefinedTableError:
        fail("the database has no table subscriber; bring it to the schema with vedette migrate")
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"Postgres: {str(error) or type(error).__name__}")
