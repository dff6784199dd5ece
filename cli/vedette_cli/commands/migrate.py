"""`vedette migrate`: bring a database to the schema, and make the secrets that live in it."""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from vedette.runtime.settings import StoreSettings, TableSettings, load_settings, read_settings
from vedette.store.migrations import APPLIED, Migration, MigrationError, Phase, apply, load, missing, others_alive
from vedette.store.operator_tables import KINDS, NameTakenError, name_tables
from vedette.store.secrets import HMAC_SECRET, create
from vedette_cli.commands.terminal import fail

FOLDER = "migrations"
CONNECT_PATIENCE = 30.0
OWN_NAMES: Mapping[str, str] = {kind: kind for kind in KINDS}


class MigrateError(Exception):
    """The database cannot be brought to the schema; the text is for a person."""


def migrate(
    database_url: Annotated[str | None, typer.Option(help="Postgres; VEDETTE_DB_URL where absent.")] = None,
    phase: Annotated[
        Phase | None,
        typer.Option(
            help="pre: what new code needs and old code runs on, before new processes start. "
            "post: what removes the rest, after the last old process has ended. "
            "Absent: pre, and post where no process of another version is alive.",
        ),
    ] = None,
) -> None:
    """Bring the database to the schema of this version, and make the views of the tables' other names."""
    url = database_url
    if url is None:
        try:
            url = load_settings(StoreSettings).database_url()
        except OSError as error:
            fail(f"VEDETTE_DB_PASSWORD_FILE: {error}")
    try:
        asyncio.run(bring_to_schema(url, typer.echo, table_names(), phase))
    except MigrateError as error:
        fail(str(error))


def table_names() -> dict[str, str]:
    """The names of the tables in the parameters, by kind. Raises MigrateError where one is not allowed."""
    found = read_settings(TableSettings)
    if isinstance(found, list):
        raise MigrateError("\n".join(found))
    return found.table_names()


async def bring_to_schema(
    url: str, say: Callable[[str], None], names: Mapping[str, str] = OWN_NAMES, phase: Phase | None = None
) -> None:
    """Apply what is missing, make the cluster secret, give tables their `names` (by kind), saying each step.

    Without a phase `post` is left for later where processes of another version are alive. Raises MigrateError.
    """
    try:
        migrations = load(migrations_folder())
        connection = await _connect(url)
    except (MigrationError, OSError) as error:
        raise MigrateError(str(error)) from None
    try:
        count = 0
        if phase is not Phase.POST:
            count += await _apply(connection, migrations, Phase.PRE, say)
        if phase is not Phase.PRE and await _post_may_be_applied(
            connection, migrations, say, asked=phase is not None
        ):
            count += await _apply(connection, migrations, Phase.POST, say)
        if count == 0:
            say(f"the schema is at {await connection.fetchval(APPLIED):04d}, nothing to do")
        if await create(connection, HMAC_SECRET, lambda: secrets.token_bytes(32)):
            say("made the cluster secret")
        async for step in name_tables(connection, names):
            say(step)
    except (MigrationError, NameTakenError, asyncpg.PostgresError) as error:
        raise MigrateError(str(error)) from None
    finally:
        await connection.close()


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]",
    migrations: Sequence[Migration],
    phase: Phase,
    say: Callable[[str], None],
) -> int:
    """How many were applied."""
    count = 0
    async for migration in apply(connection, migrations, phase):
        say(f"applied {migration.number:04d} {migration.phase} {migration.name}")
        count += 1
    return count


async def _post_may_be_applied(
    connection: "asyncpg.Connection[asyncpg.Record]",
    migrations: Sequence[Migration],
    say: Callable[[str], None],
    *,
    asked: bool,
) -> bool:
    """Whether old code has ended. Where it has not: MigrateError where `post` was asked for, else a word of it."""
    waiting = await missing(connection, migrations, Phase.POST)
    alive = await others_alive(connection) if waiting else []
    if not alive:
        return True
    names = ", ".join(f"{migration.number:04d} post {migration.name}" for migration in waiting)
    still = (
        f"{names} has to wait for the end of {'; '.join(alive)}: "
        "replace what is old, then run `vedette migrate --phase post`"
    )
    if asked:
        raise MigrateError(still)
    say(still)
    return False


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection, waiting for a server that is starting."""
    problem: Exception | None = None
    try:
        async with asyncio.timeout(CONNECT_PATIENCE):
            while True:
                try:
                    return await asyncpg.connect(url, timeout=5)
                except (asyncpg.CannotConnectNowError, OSError) as error:
                    problem = error
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise MigrateError(f"cannot connect to Postgres: {problem}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise MigrateError(f"cannot connect to Postgres: {error}") from None


def migrations_folder() -> Path:
    """VEDETTE_MIGRATIONS, else the folder `migrations` of the checkout; MigrationError where neither is there."""
    named = os.environ.get("VEDETTE_MIGRATIONS")
    if named is not None:
        return Path(named)
    for parent in Path(__file__).resolve().parents:
        if (parent / FOLDER / "0001_pre_tables.sql").exists():
            return parent / FOLDER
    raise MigrationError("the folder with the migrations was not found; name it in VEDETTE_MIGRATIONS")


def secret_files(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; they are made where they are missing.")],
) -> None:
    """Make the secrets that the services read from files: the RPC token and the database password."""
    try:
        for name in make_secret_files(folder):
            typer.echo(f"made {folder / name}")
    except OSError as error:
        fail(f"cannot write to {folder}: {error.strerror}")


def make_secret_files(folder: Path) -> list[str]:
    """The names of the files that were missing and have been made, 0600 in a folder 0700. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[str] = []
    for name in ("rpc_token", "database_password"):
        path = folder / name
        if path.exists() and path.stat().st_size:
            continue
        temporary = folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(24) + "\n")
        temporary.rename(path)
        made.append(name)
    return made
