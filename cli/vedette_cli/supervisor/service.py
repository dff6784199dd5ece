"""One process of a service: started, watched, started again when it dies."""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vedette_cli.supervisor.child import stop, tail
from vedette_cli.supervisor.folders import SetupError
from vedette_cli.supervisor.forking import Forked, Forks

READY_PATIENCE = 40.0
SHORTEST_LIFE = 2.0
RESTART_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of service."""

    name: str
    """As the command line has it: edge, core, api, notifier."""
    module: str


EDGE = Kind("edge", "sip_edge")
CORE = Kind("core", "presence_core")
API = Kind("api", "presence_core")
NOTIFIER = Kind("notifier", "notifier")

_numbers = itertools.count()


class Service:
    """One process; `changed` tells the owner, who keeps the lists of peers."""

    def __init__(
        self,
        kind: Kind,
        index: int,
        *,
        forks: Forks,
        environment: Mapping[str, str],
        log: Path,
        changed: Callable[["Service"], None],
    ) -> None:
        """`changed` is called when the process became ready or died."""
        self.kind = kind
        self.index = index
        self.number = next(_numbers)
        """Never given twice; while one process replaces another both have the same index."""
        self.facts: dict[str, str] = {}
        """What the process said when it was ready: its addresses and instance; empty while it is not."""
        self.restarts = 0
        self._forks = forks
        self._environment = environment
        self._log = log
        self._changed = changed
        self._process: Forked | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    @property
    def name(self) -> str:
        """`core 0`."""
        return f"{self.kind.name} {self.index}"

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises SetupError where it ends before that."""
        try:
            await self._launch()
        except OSError as error:
            raise SetupError(f"{self.name} did not start: {error}") from None
        self._task = asyncio.create_task(self._watch())

    async def _launch(self) -> None:
        reader, writer = os.pipe()
        spoken = os.fdopen(reader, "rb", buffering=0)
        try:
            self._process = await self._forks.fork(
                self.kind.module, environment=self._environment, log=self._log, ready=writer
            )
        except BaseException:
            spoken.close()
            raise
        finally:
            os.close(writer)
        line = await _read_line(spoken)
        if line is None:
            await stop(self._process, patience=1)
            raise SetupError(f"{self.name} did not start:\n{tail(self._log)}")
        self.facts = {key: str(value) for key, value in json.loads(line).items()}
        self._changed(self)

    async def _watch(self) -> None:
        """Start the process again whenever it dies, within a second; whatever goes wrong with that, try on."""
        while self._process is not None:
            born = time.monotonic()
            await self._process.wait()
            self.facts = {}
            self._changed(self)
            if self._stopping:
                return
            if time.monotonic() - born < SHORTEST_LIFE:
                await asyncio.sleep(RESTART_PAUSE)
            self.restarts += 1
            try:
                await self._launch()
            except SetupError as error:
                sys.stderr.write(f"{error}\n")
            except Exception as error:  # noqa: BLE001 - nobody else would start the service again
                sys.stderr.write(f"{self.name} did not start: {type(error).__name__}: {error}\n")

    async def stop(self, patience: float) -> None:
        """End the process for good."""
        self._stopping = True
        if self._process is not None:
            await stop(self._process, patience=patience)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.facts = {}
        self._changed(self)


async def _read_line(spoken: IO[bytes]) -> str | None:
    """The line that comes through a pipe; None where it closes first, or nothing comes in time."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), spoken)
    try:
        async with asyncio.timeout(READY_PATIENCE):
            line = await reader.readline()
    except TimeoutError:
        return None
    finally:
        transport.close()
    return line.decode() if line else None
