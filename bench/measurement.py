"""What is measured of one running system, part after part."""

import itertools
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench import cost, fan_out, one_watcher, sipp
from bench.fan_out import FanOut
from bench.peak import GROWTH, find_peak
from bench.phones import Load
from bench.plan import COMMON_RATE, Plan
from bench.postgres import PostgresServer
from bench.sipp import Step
from bench.system import SystemUnderTest

REST = 1.0
"""Seconds between two looks whether the system is idle."""
MOST_RESTS = 60
IDLE = 0.15
"""CPU seconds in a second that an idle system may use."""

SUPPLY = 0.7
"""Of the highest rate of PUBLISH, where more publications are needed and nothing is measured."""
PUBLISHED_AT_LEAST = 1000
"""Presentities that watchers are spread over, where none were published before."""

Say = Callable[[str], None]
Rows = Callable[[int], Awaitable[list[tuple[str, ...]]]]


@dataclass(frozen=True)
class Peak:
    """The highest rate that was held, and what a request costs."""

    rate: int
    response_ms: float
    """Mean time until the answer, at that rate."""
    cost_common: dict[str, float]
    """CPU seconds for 1,000 requests at COMMON_RATE, by role; Postgres is one."""
    cost_peak: dict[str, float]
    """The same at the highest rate."""


Figures = Peak | FanOut | Load


class Measurement:
    """The measurements of one running system, in their order: each uses what the one before has left."""

    def __init__(self, system: SystemUnderTest, server: PostgresServer, folder: Path, plan: Plan, say: Say) -> None:
        self._system = system
        self._server = server
        self._folder = folder
        self._plan = plan
        self._say = say
        self._roles = {**system.roles, server.postmaster: "postgres"}
        self._run_ids = (f"{secrets.token_hex(3)}x{number}" for number in itertools.count(1))
        self._supply_rate = COMMON_RATE
        self._published: deque[tuple[str, ...]] = deque()
        """Presentities that were published, with their entity tags."""

    async def measure(self, part: str) -> Figures:
        """The figures of a part. Raises SippError, NothingHeldError, FanOutError, PhonesError."""
        await self._rest()
        match part:
            case "one-watcher":
                return await one_watcher.measure(
                    self._system, changes=self._plan.changes, run_id=next(self._run_ids), say=self._say
                )
            case "publish":
                peak = await self._peak(part, self._no_rows, keep=True)
                self._supply_rate = max(COMMON_RATE, round(SUPPLY * peak.rate))
                return peak
            case "refresh" | "modify":
                return await self._peak(part, self._take_rows, keep=True)
            case "subscribe":
                return await self._peak(part, self._some_rows, keep=False)
            case "fan-out":
                return await fan_out.measure(
                    self._system,
                    self._folder,
                    watchers=self._plan.watchers,
                    rounds=self._plan.rounds,
                    run_id=next(self._run_ids),
                    say=self._say,
                )
        raise ValueError(f"unknown part {part!r}")

    async def _peak(self, scenario: str, rows: Rows, *, keep: bool) -> Peak:
        costs: dict[Step, dict[str, float]] = {}

        async def offer(rate: int) -> Step:
            calls = max(100, int(rate * self._plan.seconds))
            await self._rest()
            fields = await rows(calls)
            before = cost.read(self._roles)
            step = await self._step(scenario, rate, calls, fields)
            costs[step] = cost.for_thousand(before, cost.read(self._roles), calls)
            if keep:
                self._keep(step)
            self._say(f"{step.describe()}, {sum(costs[step].values()):.2f} CPU s for 1,000")
            return step

        common = await offer(COMMON_RATE)
        peak = await find_peak(offer, round(COMMON_RATE * GROWTH**2))
        return Peak(peak.rate, peak.response_ms, costs[common], costs[peak])

    async def _step(self, scenario: str, rate: int, calls: int, rows: list[tuple[str, ...]]) -> Step:
        return await sipp.run(
            scenario,
            self._system.address,
            self._folder,
            rate=rate,
            calls=calls,
            run_id=next(self._run_ids),
            rows=rows,
        )

    def _keep(self, step: Step) -> None:
        self._published.extend(row for row in step.log if len(row) == 2)

    async def _no_rows(self, _calls: int) -> list[tuple[str, ...]]:
        return []

    async def _take_rows(self, calls: int) -> list[tuple[str, ...]]:
        """Presentities whose tag nobody has used; more are published where they do not suffice."""
        while (lacking := calls - len(self._published)) > 0:
            self._say(f"{lacking} more are published first")
            there = len(self._published)
            self._keep(await self._step("publish", self._supply_rate, lacking, []))
            if len(self._published) == there:
                raise sipp.SippError("nothing can be published any more")
            await self._rest()
        return [self._published.popleft() for _ in range(calls)]

    async def _some_rows(self, calls: int) -> list[tuple[str, ...]]:
        if not self._published:
            self._keep(await self._step("publish", self._supply_rate, PUBLISHED_AT_LEAST, []))
        return list(itertools.islice(itertools.cycle(self._published), calls))

    async def _rest(self) -> None:
        """Let the step before come to its end: a watcher that is gone is sent its NOTIFY for half a minute."""
        await self._server.checkpoint()
        for _ in range(MOST_RESTS):
            if sum((await cost.idle(self._roles, REST)).values()) < IDLE:
                return
