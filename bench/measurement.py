"""All that is measured of one system."""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import fan_out, sipp
from bench.cpu_time import cpu_seconds
from bench.fan_out import FanOut
from bench.peak import GROWTH, find_peak
from bench.postgres import PostgresServer
from bench.sipp import Step
from bench.system import SystemUnderTest

COMMON_RATE = 400
"""Requests in a second at which CPU time is compared: every system holds it."""
REST = 1.0
"""Seconds between two looks whether the system is idle."""
MOST_RESTS = 60
IDLE = 0.15
"""CPU seconds in a second that an idle system may use."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Peak:
    """The highest rate that was held, and what a request costs."""

    rate: int
    response_ms: float
    """Mean time until the answer, at that rate."""
    cpu_common: float
    """CPU seconds of the system and of Postgres for 1,000 requests, at COMMON_RATE."""
    cpu_peak: float
    """The same at the highest rate."""


@dataclass(frozen=True)
class Result:
    """One system's figures."""

    name: str
    publish: Peak
    refresh: Peak
    subscribe: Peak
    fan_out: FanOut


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float
    """Of each step."""
    watchers: int
    rounds: int
    commit_ms: float
    """How much longer each flush of Postgres's log is made to take."""


class Measurement:
    """The measurements of one running system, in their order: each uses what the one before has left."""

    def __init__(self, system: SystemUnderTest, server: PostgresServer, folder: Path, plan: Plan, say: Say) -> None:
        self._system = system
        self._server = server
        self._folder = folder
        self._plan = plan
        self._say = say
        self._run_ids = (f"{secrets.token_hex(3)}x{number}" for number in itertools.count(1))
        self._published: deque[tuple[str, ...]] = deque()
        """Presentities that were published, with their entity tags."""

    async def run(self) -> Result:
        """All figures. Raises SippError, NothingHeldError, FanOutError."""
        publish = await self._peak("publish", self._no_rows, keep=True)
        refresh = await self._peak("refresh", self._take_rows, keep=True)
        subscribe = await self._peak("subscribe", self._some_rows, keep=False)
        self._say(f"fan-out to {self._plan.watchers} watchers")
        await self._rest()
        spread = await fan_out.measure(
            self._system,
            self._folder,
            watchers=self._plan.watchers,
            rounds=self._plan.rounds,
            run_id=next(self._run_ids),
            say=lambda text: self._say(f"  {text}"),
        )
        return Result(self._system.name, publish, refresh, subscribe, spread)

    async def _peak(self, scenario: str, rows: Callable[[int], Iterator[tuple[str, ...]]], *, keep: bool) -> Peak:
        self._say(scenario)

        costs: dict[Step, float] = {}

        async def offer(rate: int) -> Step:
            calls = max(100, int(rate * self._plan.seconds))
            await self._rest()
            before = self._cpu()
            step = await sipp.run(
                scenario,
                self._system.address,
                self._folder,
                rate=rate,
                calls=calls,
                run_id=next(self._run_ids),
                rows=list(rows(calls)),
            )
            costs[step] = 1000 * (self._cpu() - before) / calls
            if keep:
                self._published.extend(row for row in step.log if len(row) == 2)
            self._say(f"  {step.describe()}, {costs[step]:.2f} CPU s for 1,000")
            return step

        common = await offer(COMMON_RATE)
        peak = await find_peak(offer, round(COMMON_RATE * GROWTH**2))
        return Peak(peak.rate, peak.response_ms, costs[common], costs[peak])

    def _no_rows(self, _calls: int) -> Iterator[tuple[str, ...]]:
        return iter(())

    def _take_rows(self, calls: int) -> Iterator[tuple[str, ...]]:
        """Presentities whose tag nobody has used."""
        if len(self._published) < calls:
            raise sipp.SippError(f"{calls} publications are to be refreshed and {len(self._published)} are there")
        return (self._published.popleft() for _ in range(calls))

    def _some_rows(self, calls: int) -> Iterator[tuple[str, ...]]:
        return itertools.islice(itertools.cycle(self._published), calls)

    def _cpu(self) -> float:
        return cpu_seconds([*self._system.processes, self._server.postmaster])

    async def _rest(self) -> None:
        """Let the step before come to its end: a watcher that is gone is sent its NOTIFY for half a minute."""
        await self._server.checkpoint()
        for _ in range(MOST_RESTS):
            before = self._cpu()
            await asyncio.sleep(REST)
            if self._cpu() - before < IDLE * REST:
                return
