"""`vedette up` as a user runs it, in a process of its own, on ports that were free."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from tests.certificates import trusting
from tests.clusters import lay_cluster
from tests.folders import open_folder
from tests.ports import free_port
from tests.wait import until
from vedette_cli.supervisor.child import die_with_parent
from vedette_cli.supervisor.control import ask

START_DEADLINE = 180.0
"""Seconds; only a failure uses them up."""
VEDETTE = [sys.executable, "-m", "vedette_cli"]
UNHURRIED = {"VEDETTE_MAX_WAITING_TIME": "20000"}
"""No request is refused because the machine is busy with other tests; those of overload have limits of their own."""


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without parameters of Vedette, plus `extra`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")} | (extra or {})


class RunningSet:
    """One running set: its addresses, its processes, its data."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path) -> None:
        self.process = process
        self.data = data
        self.output: list[str] = []
        self.sip: tuple[str, int] = ("", 0)
        self.api = ""
        self.others: dict[str, tuple[str, int]] = {}
        """host and port of `tls`, `ws` and `wss`, where they are on."""
        self.ca: Path | None = None
        """The authority of its certificate."""
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode().rstrip("\n"))

    async def wait_until_ready(self) -> None:
        """Return when it says `ready`; AssertionError with its output where it does not."""

        async def ready() -> bool:
            return "Ctrl-C stops everything." in self.output or self.process.returncode is not None

        try:
            await until(ready, "vedette up is ready", deadline=START_DEADLINE)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.output])) from None
        assert self.process.returncode is None, "\n".join(self.output)
        status = await self.status()
        self.sip, self.api = split(status["sip"]), status["api"]
        self.others = {name: split(status[name]) for name in ("tls", "ws", "wss") if name in status}

    @property
    def sip_address(self) -> str:
        """host:port of the edge."""
        return f"{self.sip[0]}:{self.sip[1]}"

    def address(self, transport: str, host: str | None = None) -> tuple[str, int]:
        """Where a transport is reached; on another host that it listens on, too."""
        first, port = self.others.get(transport, self.sip)
        return host or first, port

    def context(self, transport: str) -> ssl.SSLContext | None:
        """What a client of the transport trusts, None where there is no TLS."""
        if transport not in ("tls", "wss"):
            return None
        assert self.ca is not None
        return trusting(self.ca)

    async def command(self, *arguments: str, within: float = 120.0) -> str:
        """What `vedette ARGUMENTS` says, on this set's data; AssertionError where it fails."""
        code, out, err = await run(*arguments, within=within)
        assert code == 0, out + err
        return out

    async def status(self) -> dict[str, Any]:
        """What `vedette status --json` says, asked for as it asks, without a process for it."""
        return await asyncio.to_thread(ask, self.data, {"command": "status"})

    async def processes(self, service: str) -> list[dict[str, Any]]:
        """The rows of a service in the status."""
        return [row for row in (await self.status())["processes"] if row["service"] == service]

    async def scale(self, *counts: str) -> None:
        """`vedette scale core=3 ...`."""
        await self.command("scale", *counts, "--data", str(self.data))

    async def kill(self, service: str, index: int = 0, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process of the set; its pid."""
        pid = int((await self.processes(service))[index]["pid"])
        os.kill(pid, number)
        return pid

    async def metrics(self) -> dict[str, list[str]]:
        """What every process tells on /metrics, by service."""
        texts: dict[str, list[str]] = {}
        async with aiohttp.ClientSession() as session:
            for row in (await self.status())["processes"]:
                if row.get("metrics"):
                    async with session.get(f"http://{row['metrics']}/metrics") as response:
                        assert response.status == 200
                        texts.setdefault(row["service"], []).append(await response.text())
        return texts

    async def get(self, path: str, **query: str) -> Any:
        """What GET on the REST API returns, whatever its status code."""
        async with aiohttp.ClientSession() as session, session.get(self.api + path, params=query) as response:
            return await response.json()

    async def all_ready(self) -> None:
        """Return when every process has a pid and is ready."""

        async def ready() -> bool:
            return all(row["pid"] and row["ready"] for row in (await self.status())["processes"])

        await until(ready, "every process is ready", deadline=START_DEADLINE)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the set; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), START_DEADLINE)
        await self._reader
        return code


def split(address: str) -> tuple[str, int]:
    """Host and port of host:port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def run(*arguments: str, extra: dict[str, str] | None = None, within: float = 120.0) -> tuple[int, str, str]:
    """Exit code, output and errors of `vedette ARGUMENTS`."""
    process = await asyncio.create_subprocess_exec(
        *VEDETTE,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def with_free_ports(*options: str) -> list[str]:
    """The options of `up`, with a port of ours wherever any one will do (0)."""
    ahead = ("", *options)
    return [
        str(free_port()) if option == "0" and before.endswith("-port") else option
        for before, option in zip(ahead, options, strict=False)
    ]


async def start(
    data: Path,
    arguments: Sequence[str] = (),
    extra: dict[str, str] | None = None,
    program: Sequence[str] = VEDETTE,
) -> RunningSet:
    """Start a set on any free ports and wait until it is ready."""
    options = with_free_ports("--sip-port", "0", "--api-port", "0", "--data", str(data), *arguments)
    process = await asyncio.create_subprocess_exec(
        *program,
        "up",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(extra),
        preexec_fn=die_with_parent(signal.SIGTERM, os.getpid()),
    )
    running = RunningSet(process, data)
    try:
        await running.wait_until_ready()
    except BaseException:
        await running.stop()
        raise
    return running


@contextlib.asynccontextmanager
async def started(*arguments: str, extra: dict[str, str] | None = None) -> AsyncIterator[RunningSet]:
    """A set of one's own, to kill parts of, stopped at the end."""
    with open_folder("set") as data:
        if not any(argument.startswith("--database-url") for argument in arguments):
            await lay_cluster(data)
        running = await start(data, arguments, UNHURRIED | (extra or {}))
        try:
            yield running
        finally:
            await running.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_set() -> AsyncIterator[RunningSet]:
    """The set that all tests share which harm nothing: two cores, one edge, one notifier."""
    async with started() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_set() -> AsyncIterator[RunningSet]:
    """One for a file of tests, with limits: min_expires 60, one domain, bodies up to 4096 octets.

    Few files use it, and a set that waits for the next one costs more than its start: its processes poll.
    """
    extra = {
        "VEDETTE_MIN_EXPIRES": "60",
        "VEDETTE_DOMAINS": "example.com",
        "VEDETTE_MAX_BODY_SIZE": "4096",
    }
    async with started("--cores", "1", extra=extra) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def digest_set() -> AsyncIterator[RunningSet]:
    """Also for a file: users prove who they are; one core, one edge, with nothing kept for `vedette trace`."""
    async with started("--cores", "1", "--auth", "digest", extra={"VEDETTE_TRACE_BUFFER": "0"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def observed_set() -> AsyncIterator[RunningSet]:
    """Also for a file: logs all as JSON, counts each second, does not wait long for watchers; one of each kind."""
    extra = {
        "VEDETTE_LOG_LEVEL": "debug",
        "VEDETTE_LOG_FORMAT": "json",
        "VEDETTE_CENSUS_PERIOD": "1",
        "VEDETTE_T1": "30",
        "VEDETTE_MAX_BODY_SIZE": "4096",
    }
    async with started("--cores", "1", extra=extra) as running:
        yield running
