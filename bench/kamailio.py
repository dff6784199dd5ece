"""Kamailio from Debian's packages, in four configurations."""

import asyncio
import contextlib
import shutil
import socket
import string
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.postgres import PostgresServer, libpq_parts
from bench.system import SystemUnderTest
from vedette_cli.supervisor.child import spawn, stop, tail

SCHEMA = Path("/usr/share/kamailio/postgres")
TABLES = ("standard-create.sql", "presence-create.sql")
TEMPLATE = Path(__file__).with_name("kamailio.cfg")
START_PATIENCE = 20.0
RECEIVE_BUFFER = 4 * 1024 * 1024


@dataclass(frozen=True)
class Configuration:
    """One way to run Kamailio's presence module."""

    name: str
    meaning: str
    children: int
    parameters: Mapping[str, int] = field(default_factory=dict)


CONFIGURATIONS = (
    Configuration(
        "stored",
        "publications and dialogs in Postgres and cached, 32 workers, no table locks",
        32,
        {"subs_db_mode": 1, "publ_cache": 1, "db_table_lock_type": 0},
    ),
    Configuration(
        "database-only",
        "publications and dialogs in Postgres only, 32 workers, no table locks, a notifier process",
        32,
        {"subs_db_mode": 3, "publ_cache": 0, "db_table_lock_type": 0},
    ),
    Configuration(
        "inline",
        "the same without the notifier process: the worker that has the PUBLISH sends the NOTIFYs",
        32,
        {"subs_db_mode": 3, "publ_cache": 0, "db_table_lock_type": 0, "notifier_processes": 0},
    ),
    Configuration(
        "memory",
        "publications and dialogs in memory, nothing stored",
        8,
        {"subs_db_mode": 0, "publ_cache": 2},
    ),
)


class KamailioError(Exception):
    """Kamailio is not there or does not run."""


def missing() -> str | None:
    """What is not installed, None where everything is there."""
    if shutil.which("kamailio") is None:
        return "kamailio (Debian packages kamailio, kamailio-presence-modules, kamailio-postgres-modules)"
    if not all((SCHEMA / name).exists() for name in TABLES):
        return f"{SCHEMA} (Debian package kamailio-postgres-modules)"
    return None


async def version() -> str:
    """`kamailio 5.6.3`."""
    process = await asyncio.create_subprocess_exec("kamailio", "-v", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().splitlines()[0].removeprefix("version: ").split(" (")[0]


@contextlib.asynccontextmanager
async def running(
    configuration: Configuration, server: PostgresServer, folder: Path, port: int
) -> AsyncIterator[SystemUnderTest]:
    """Kamailio on a new database with the tables of its package."""
    name = f"bench_kamailio_{configuration.name.replace('-', '_')}"
    async with server.fresh_database(name) as database:
        connection = await asyncpg.connect(database)
        try:
            for script in TABLES:
                await connection.execute((SCHEMA / script).read_text(encoding="utf-8"))
        finally:
            await connection.close()
        url, environment = libpq_parts(database)
        file = folder / f"{name}.cfg"
        file.write_text(_write(configuration, url, port), encoding="utf-8")
        log = folder / f"{name}.log"
        process = await spawn(
            [
                *("kamailio", "-DD", "-E", "-f", str(file), "-m", "1024", "-M", "16", "-b", str(RECEIVE_BUFFER)),
                *("-Y", str(folder), "-w", str(folder), "-P", str(folder / f"{name}.pid")),
            ],
            log=log,
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        )
        try:
            await _wait_until_it_answers(process, port, log)
            yield SystemUnderTest(
                f"kamailio {configuration.name}", ("127.0.0.1", port), {process.pid: "kamailio"}, database
            )
        finally:
            await stop(process, patience=10)


def _write(configuration: Configuration, url: str, port: int) -> str:
    presence = "\n".join(
        f'modparam("presence", "{name}", {value})' for name, value in configuration.parameters.items()
    )
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(children=configuration.children, port=port, database=url, presence=presence)


async def _wait_until_it_answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Return when an OPTIONS gets an answer. Raises KamailioError."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.setblocking(False)
        own = probe.getsockname()[1]
        request = (
            f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bKready\r\n"
            f"From: <sip:bench@example.com>;tag=1\r\nTo: <sip:bench@example.com>\r\nCall-ID: ready-{own}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        for _ in range(int(START_PATIENCE / 0.25)):
            if process.returncode is not None:
                raise KamailioError(f"kamailio ended at its start:\n{tail(log, 15)}")
            await loop.sock_sendto(probe, request, ("127.0.0.1", port))
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                async with asyncio.timeout(0.25):
                    await loop.sock_recv(probe, 65535)
                    return
            await asyncio.sleep(0.05)
    raise KamailioError(f"kamailio does not answer:\n{tail(log, 15)}")
