"""A whole run: system after system and part after part, each figure kept as soon as it is there."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

from bench import connections, document, kamailio, kamailio_dialogs, mixed, replicas, sipp, stored_dialogs, vedette
from bench.document import Document
from bench.kamailio import CONFIGURATIONS
from bench.measurement import Measurement
from bench.micro import memory
from bench.plan import SHARED, Part, Plan
from bench.postgres import PostgresServer
from bench.system import SystemUnderTest

Say = Callable[[str], None]


class Run:
    """Fills a document; `path` has it after each part."""

    def __init__(
        self, found: Document, path: Path, server: PostgresServer, folder: Path, up: list[str], say: Say
    ) -> None:
        self._document = found
        self._path = path
        self._server = server
        self._folder = folder
        self._up = up
        self._say = say
        self._left: dict[tuple[str, str], float] = {}
        """About how many seconds each part of each system takes that has not come to its end."""

    async def measure(self, chosen: list[tuple[Part, list[str]]]) -> None:
        """All parts of all systems: first those that share one start of a system, then the others."""
        self._left = {(part.name, system): part.seconds for part, names in chosen for system in names}
        shared = [(part.name, names) for part, names in chosen if part.name in SHARED]
        for system in dict.fromkeys(name for _, names in shared for name in names):
            parts = [part for part, names in shared if system in names]
            self._say(f"{system}:")
            await self._guarded(system, self._shared(system, parts))
            for name in parts:  # where the system did not start
                self._left.pop((name, system), None)
        for part, names in chosen:
            if part.name not in SHARED:
                for system in names:
                    await self._part(part.name, system, self._alone(part.name, system))

    async def _part(self, part: str, system: str, measured: Awaitable[None]) -> None:
        self._say(f"{part}, {system} (about {sum(self._left.values()) / 60:.0f} minutes left):")
        await self._guarded(f"{part}, {system}", measured)
        del self._left[part, system]

    async def _guarded(self, place: str, measured: Awaitable[None]) -> None:
        """Wait for it, and keep how long it took or why it failed: the other parts have figures all the same."""
        begun = time.monotonic()
        try:
            await measured
        except Exception as error:  # noqa: BLE001 - half an hour of figures is not lost for one of them
            self._document.failed[place] = f"{type(error).__name__}: {error}"
            self._say(f"no figures of {place}: {error}")
        self._document.seconds[place] = round(time.monotonic() - begun, 1)
        document.write(self._document, self._path)

    async def _shared(self, system: str, parts: list[str]) -> None:
        async with self._running(system, "shared") as (running, place):
            measurement = Measurement(running, self._server, place, self._plan, self._say_below)
            for part in parts:
                await self._part(part, system, self._one(measurement, part, system))

    async def _one(self, measurement: Measurement, part: str, system: str) -> None:
        getattr(self._document, part.replace("-", "_"))[system] = await measurement.measure(part)

    async def _alone(self, part: str, system: str) -> None:
        plan, folder = self._plan, self._folder / part
        match part:
            case "mixed":
                async with self._running(system, part) as (running, _):
                    make = None if system == "vedette" else kamailio_dialogs.by_sql(running)
                    self._document.mixed[system] = await mixed.measure(
                        running, self._server, plan, token_hex(3), self._say_below, make
                    )
            case "stored-dialogs":
                keep = self._document.stored_dialogs.append
                await stored_dialogs.measure(self._server, folder, plan, self._say_below, keep)
            case "replicas":
                keep_cost = self._document.replicas.append
                await replicas.measure(self._server, folder, plan, self._say_below, keep_cost)
            case "connections":
                self._document.connections = await connections.measure(self._server, folder, plan, self._say_below)
            case "transactions":
                self._document.transactions = memory.octets()

    @asynccontextmanager
    async def _running(self, system: str, part: str) -> AsyncIterator[tuple[SystemUnderTest, Path]]:
        """A system that was started for a part, and a folder of its own."""
        place = self._folder / f"{system}-{part}"
        place.mkdir(mode=0o755)
        port = sipp.free_port("127.0.0.1")
        configuration = next((one for one in CONFIGURATIONS if one.name == system), None)
        started = (
            vedette.running(self._server, place, port, self._up)
            if configuration is None
            else kamailio.running(configuration, self._server, place, port)
        )
        async with started as running:
            yield running, place

    @property
    def _plan(self) -> Plan:
        return self._document.plan

    def _say_below(self, text: str) -> None:
        self._say(f"  {text}")
