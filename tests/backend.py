"""A Postgres and a Redis that nobody starts again but the tests, and what may be done to them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.clusters import lay_cluster
from tests.folders import open_folder
from tests.wait import until
from vedette_cli.commands.migrate import make_secret_files
from vedette_cli.supervisor.child import spawn, tail
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis
from vedette_cli.supervisor.folders import Folders, SetupError, open_data_folder
from vedette_cli.supervisor.unprivileged import RunAs, choose_user


@dataclass(frozen=True)
class Backend:
    """Both servers; `url` is the database as its owner sees it."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    url: str
    password: str
    folders: Folders
    user: RunAs

    async def connect(
        self, database: str = "vedette", *, at: Path | None = None
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection that is not the set's; `at`: the sockets of another server, with the same owner."""
        return await asyncpg.connect(
            host=str(at or self.folders.sockets), user="vedette", password=self.password, database=database
        )

    def postgres_processes(self) -> list[int]:
        """The postmaster and its children."""
        assert self.postgres.process is not None
        postmaster = self.postgres.process.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    async def start_postgres(self) -> None:
        """Start it again; backends of the one that was killed may take a moment to end."""

        async def started() -> bool:
            with contextlib.suppress(SetupError):
                await self.postgres.start()
                return True
            return False

        await until(started, "Postgres starts again", deadline=60)

    async def stop_postgres(self, number: signal.Signals) -> None:
        """End it by a signal to the postmaster: SIGINT stops fast and in order, SIGKILL at once."""
        assert self.postgres.process is not None
        self.postgres.process.send_signal(number)
        await self.postgres.process.wait()

    async def cut_connections(self) -> int:
        """Have Postgres end all connections of the set, whatever they are doing; how many."""
        admin = await self.connect("postgres")
        try:
            ended = await admin.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        finally:
            await admin.close()
        return len(ended)


@contextlib.asynccontextmanager
async def backend_started(name: str = "backend") -> AsyncIterator[Backend]:
    """Both servers, on sockets of their own in a folder of that name; stopped at the end."""
    with open_folder(name) as path:
        await lay_cluster(path)
        folders, _ = open_data_folder(path)
        make_secret_files(folders.secrets)
        user = choose_user()
        postgres, redis = EmbeddedPostgres(folders, user), EmbeddedRedis(folders, user)
        await postgres.prepare()
        await postgres.start()
        await redis.prepare()
        await redis.start()
        password = (folders.secrets / "database_password").read_text(encoding="ascii").strip()
        url = postgres.url().replace("vedette@", f"vedette:{password}@", 1)
        try:
            yield Backend(postgres, redis, url, password, folders, user)
        finally:
            await asyncio.gather(redis.stop(), postgres.stop())


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These processes do nothing for a while; one that is gone by then is passed over."""
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def standby_of(backend: Backend, folders: Folders) -> EmbeddedPostgres:
    """A standby of the backend's Postgres, started in these folders; it streams from it until it is promoted."""
    make_secret_files(folders.secrets)
    (folders.secrets / "database_password").write_text(backend.password, encoding="ascii")
    folders.postgres.mkdir(mode=0o700)
    backend.user.own(folders.postgres)
    process = await spawn(
        [
            str(backend.postgres.programs / "pg_basebackup"),
            f"--pgdata={folders.postgres}",
            f"--dbname=host={backend.folders.sockets} user=vedette password={backend.password}",
            *("--write-recovery-conf", "--create-slot", "--slot=standby", "--checkpoint=fast"),
        ],
        log=folders.logs / "basebackup.log",
        user=backend.user,
        cwd=folders.postgres,
    )
    assert await process.wait() == 0, tail(folders.logs / "basebackup.log")
    standby = EmbeddedPostgres(folders, backend.user)
    await standby.prepare()
    await standby.start()
    return standby
