"""The one Postgres server that every system under test stores in, each in a database of its own."""

import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import asyncpg

from vedette_cli.commands.migrate import make_secret_files
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres
from vedette_cli.supervisor.folders import open_data_folder
from vedette_cli.supervisor.unprivileged import choose_user

SETTINGS_SHOWN = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size",
    "commit_delay",
)  # fmt: skip
COMMITS_PROBED = 101


@dataclass(frozen=True)
class PostgresServer:
    """A running server, as somebody who may create databases."""

    url: str
    postmaster: int
    """Its process; None of the systems under test starts or stops it."""
    settings: dict[str, str]

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    @contextlib.asynccontextmanager
    async def fresh_database(self, name: str) -> AsyncIterator[str]:
        """An empty database and its URL; dropped at the end."""
        await self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.database(name)
        finally:
            await self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def commit_ms(self) -> float:
        """How long one commit takes, in milliseconds, median: what the storage makes of fsync."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS probed (number int4)")
            times: list[float] = []
            for number in range(COMMITS_PROBED):
                began = time.perf_counter()
                await connection.execute("INSERT INTO probed VALUES ($1)", number)
                times.append(time.perf_counter() - began)
            await connection.execute("DROP TABLE probed")
        finally:
            await connection.close()
        return 1000 * statistics.median(times)

    async def slow_down(self, milliseconds: float) -> None:
        """Have each flush of the log take so much longer, as on storage that is slower than this machine's.

        Those that wait for a flush share it, as they do on a slow disk.
        """
        await self._run(
            f"ALTER SYSTEM SET commit_delay = {round(1000 * milliseconds)}",
            "ALTER SYSTEM SET commit_siblings = 0",
            "SELECT pg_reload_conf()",
        )

    async def checkpoint(self) -> None:
        """Write out what earlier measurements left, so that the next one does not pay for it."""
        await self._run("CHECKPOINT")

    async def _run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def libpq_parts(url: str) -> tuple[str, dict[str, str]]:
    """A URL as `postgres://user:password@host/database`, and the variables for what that cannot hold."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    environment = {"PGHOST": unquote(query["host"][0])} if "host" in query else {}
    if "port" in query:
        environment["PGPORT"] = query["port"][0]
    return f"postgres://{parts.netloc}{parts.path}", environment


@contextlib.asynccontextmanager
async def embedded_server(folder: Path) -> AsyncIterator[str]:
    """The Postgres that `vedette up` would run, run by us; its URL."""
    folders, lock = open_data_folder(folder)
    make_secret_files(folders.secrets)
    server = EmbeddedPostgres(folders, choose_user())
    try:
        await server.prepare()
        await server.start()
        password = (folders.secrets / "database_password").read_text(encoding="ascii").strip()
        yield server.url().replace("vedette@", f"vedette:{password}@", 1)
    finally:
        await server.stop()
        os.close(lock)


async def look_at(url: str) -> PostgresServer:
    """What there is to know of the server behind a URL; it has to run on this machine."""
    connection = await asyncpg.connect(url)
    try:
        settings = {name: str(await connection.fetchval(f"SHOW {name}")) for name in SETTINGS_SHOWN}
        backend = int(await connection.fetchval("SELECT pg_backend_pid()"))
        stat = Path(f"/proc/{backend}/stat").read_text(encoding="ascii")
    finally:
        await connection.close()
    return PostgresServer(url, int(stat.rpartition(")")[2].split()[1]), settings)
