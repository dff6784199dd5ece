"""Our own set, as `vedette up` runs it, on the common Postgres server."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from bench.postgres import PostgresServer
from bench.system import SystemUnderTest
from vedette_cli.supervisor.child import spawn, stop, tail
from vedette_cli.supervisor.control import NotRunningError, ask

START_PATIENCE = 60.0


class VedetteError(Exception):
    """The set does not run."""


@contextlib.asynccontextmanager
async def running(
    server: PostgresServer, folder: Path, port: int, options: Sequence[str] = ()
) -> AsyncIterator[SystemUnderTest]:
    """A set on a new database; `options` for `vedette up`."""
    async with (
        server.fresh_database("bench_vedette") as database,
        running_on(database, folder, port, options) as set_,
    ):
        yield set_


@contextlib.asynccontextmanager
async def running_on(
    database: str,
    folder: Path,
    port: int,
    options: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
) -> AsyncIterator[SystemUnderTest]:
    """A set on a database as it is; `parameters` are environment variables for it."""
    data = folder / "vedette"
    log = folder / "vedette.log"
    folder.mkdir(mode=0o755, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
    environment |= parameters or {}
    process = await spawn(
        [
            *(sys.executable, "-m", "vedette_cli", "up", "--sip-port", str(port), "--api-port", "0"),
            *("--data", str(data), "--database-url", database, *options),
        ],
        log=log,
        environment=environment,
    )
    try:
        roles = {process.pid: "supervisor", **await _wait_until_ready(process, data, log)}
        yield SystemUnderTest("vedette", ("127.0.0.1", port), roles, database)
    finally:
        await stop(process, patience=20)


async def _wait_until_ready(process: asyncio.subprocess.Process, data: Path, log: Path) -> dict[int, str]:
    """What each process is, as soon as the set answers its control socket. Raises VedetteError."""
    for _ in range(int(START_PATIENCE / 0.1)):
        if process.returncode is not None:
            break
        with contextlib.suppress(NotRunningError):
            status = await asyncio.to_thread(ask, data, {"command": "status"})
            return {int(one["pid"]): str(one["service"]) for one in status["processes"] if one["pid"] is not None}
        await asyncio.sleep(0.1)
    raise VedetteError(f"the set does not start:\n{tail(log, 15)}")
