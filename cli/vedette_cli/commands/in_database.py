"""Commands that work on the database themselves, so that they work before anything runs."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import asyncpg
import typer

from vedette.runtime.parameters import PREFIX
from vedette.runtime.settings import StoreSettings, load_settings
from vedette_cli.commands.terminal import fail
from vedette_cli.supervisor.control import NotRunningError, ask

CONNECT_PATIENCE = 5.0

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="This Postgres, where no set runs on --data; VEDETTE_DB_URL where it is absent, too."
    ),
]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Answer = TypeVar("Answer")


def find_database(data: Path, database_url: str | None) -> str:
    """The database of the option, of the set that runs on the folder, or of the parameters."""
    if database_url is not None:
        return database_url
    stores = running_stores(data, "DB_URL", "the database with --database-url")
    return database_of(load_settings(StoreSettings)) if stores is None else str(stores["db_url"])


def running_stores(data: Path, parameter: str, way_out: str) -> dict[str, Any] | None:
    """The stores of the set that runs on the folder, None where the parameters say which; ends the command else."""
    try:
        stores = ask(data, {"command": "stores"})
    except NotRunningError as error:
        if f"{PREFIX}{parameter}" not in os.environ and f"{PREFIX}CONFIG" not in os.environ:
            fail(f"{error}, or name {way_out}")
        return None
    if "error" in stores:
        fail(str(stores["error"]), 2)
    return stores


def database_of(settings: StoreSettings) -> str:
    """The database of the parameters; ends the command where its password cannot be read."""
    try:
        return settings.database_url()
    except OSError as error:
        fail(f"{PREFIX}DB_PASSWORD_FILE: {error}", 2)


def in_database(url: str, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    """What the work has found, in one transaction; ends the command where the database cannot be used."""

    async def connected() -> Answer:
        connection = await asyncpg.connect(url, timeout=CONNECT_PATIENCE)
        try:
            async with connection.transaction():
                return await work(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(connected())
    except asyncpg.UndefinedTableError as error:
        fail(f"{error}; bring the database to the schema with vedette migrate")
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"Postgres: {str(error) or type(error).__name__}")
