"""An hour of a mixed load at a third of the peak: `python -m tests.system.soak --minutes 60`.

The peak is found at the start, with the same load. Each minute gives a line of figures; at the end stands the
verdict: what may not grow has not grown over the last half, and nothing is owed once the load has ended.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.running_set import RunningSet, started
from tests.system import gauges
from tests.system.mixed_load import MixedLoad
from tests.system.steadiness import Allowed, Trend, trend
from tests.wait import until
from vedette_cli.supervisor.control import ask

PRESENTITIES = 400
PART = 1 / 3
WARM_UP, CALIBRATION = 5.0, 20.0
SET = ("--edges", "1", "--cores", "2", "--notifiers", "1")
AT_REST_WITHIN = 60.0
MIB = 2**20

ALLOWED = {
    "memory": Allowed(0.05, 4.0),
    "heap": Allowed(0.10, 1 * MIB),
    "indexes": Allowed(0.10, 1 * MIB),
    "live": Allowed(0.10, 500),
    "dead": Allowed(0.50, 3000),
    "median": Allowed(0.50, 10.0),
    "p99": Allowed(1.00, 100.0),
    "change_event": Allowed(0.50, 200),
    "wal": Allowed(0.25, 1 * MIB),
}
"""What each kind of figure may grow by over the last half."""
UNITS = {
    "memory": "MiB",
    "heap": "octets",
    "indexes": "octets",
    "median": "ms",
    "p99": "ms",
    "wal": "octets a minute",
}

Say = Callable[[str], None]


@dataclass
class Minute:
    """The figures of one minute; `figures` by name, the first word of which is its kind."""

    ends: float
    figures: dict[str, float]

    def __str__(self) -> str:
        f = self.figures
        memory = " ".join(f"{name.partition(' ')[2]} {f[name]:.0f}" for name in f if name.startswith("memory "))
        dead = sum(f[name] for name in f if name.startswith("dead "))
        heap = sum(f[name] for name in f if name.startswith(("heap ", "indexes ")))
        return (
            f"{self.ends / 60:5.1f} min  PUBLISH {f['median PUBLISH']:.1f}/{f['p99 PUBLISH']:.0f} ms  "
            f"NOTIFY {f['median NOTIFY']:.1f}/{f['p99 NOTIFY']:.0f} ms  change_event {f['change_event']:.0f}  "
            f"tables {heap / MIB:.1f} MiB, {dead:.0f} dead  WAL {f['wal'] / MIB:.1f} MiB  MiB: {memory}"
        )


@dataclass
class Report:
    """What a soak has found out."""

    seed: int
    peak: float = 0.0
    rate: float = 0.0
    load_average: tuple[float, float, float] = (0.0, 0.0, 0.0)
    minutes: list[Minute] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    notifies: int = 0
    late: int = 0
    wrong: list[str] = field(default_factory=list)
    """What must not be, apart from growth."""

    def trends(self) -> dict[str, Trend]:
        """The trend of each figure; none where the soak was too short."""
        names = self.minutes[-1].figures if self.minutes else {}
        found = {
            name: trend([minute.figures.get(name, 0.0) for minute in self.minutes], _allowed(name)) for name in names
        }
        return {name: seen for name, seen in found.items() if seen is not None}

    def growing(self) -> list[str]:
        """A line for each figure that grew by more than is allowed."""
        return [
            f"{name} grew by {seen.growth:.1f} over the last half, {seen.allowed:.1f} allowed, "
            f"median {seen.median:.1f} {UNITS.get(name.split(maxsplit=1)[0], 'rows')}"
            for name, seen in self.trends().items()
            if not seen.is_flat
        ]

    def problems(self) -> list[str]:
        """Everything that is against it."""
        return [*self.wrong, *self.growing()]

    def as_text(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        first, last = self.minutes[0].figures, self.minutes[-1].figures
        load = ", ".join(f"{value:.1f}" for value in self.load_average)
        yield f"soak of {len(self.minutes)} minutes, seed {self.seed}, load average at the end {load}"
        yield f"peak {self.peak:.0f} requests/s, rate {self.rate:.0f} requests/s"
        yield "answers " + ", ".join(f"{name}: {count}" for name, count in sorted(self.answers.items()))
        yield f"NOTIFYs {self.notifies}; requests that did not leave on time {self.late}"
        trends = self.trends()
        yield f"{'':28} {'first':>12} {'last':>12} {'median':>12} {'growth':>10} {'allowed':>10}"
        for name in last:
            seen = trends.get(name)
            told = f"{seen.median:12.1f} {seen.growth:10.1f} {seen.allowed:10.1f}" if seen else ""
            yield f"{name:28} {first.get(name, 0.0):12.1f} {last[name]:12.1f} {told}"
        yield "too short to judge growth" if not trends else "growth is that over the last half"
        problems = self.problems()
        yield from (f"  AGAINST IT  {line}" for line in problems)
        yield "verdict: " + ("not steady" if problems else "steady: nothing grew, nothing is owed at rest")

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "seed": self.seed,
            "peak": self.peak,
            "rate": self.rate,
            "load_average": self.load_average,
            "minutes": [{"ends": minute.ends, **minute.figures} for minute in self.minutes],
            "answers": self.answers,
            "notifies": self.notifies,
            "late": self.late,
            "trends": {
                name: {"median": seen.median, "growth": seen.growth, "allowed": seen.allowed}
                for name, seen in self.trends().items()
            },
            "problems": self.problems(),
        }


def _allowed(name: str) -> Allowed:
    return ALLOWED[name.split(maxsplit=1)[0]]


def _percentile(values: Sequence[float], part: float) -> float:
    """Milliseconds; 0 where there are none."""
    return 1000 * values[min(len(values) - 1, int(part * len(values)))] if values else 0.0


async def _minute(
    running: RunningSet, database: "asyncpg.Connection[asyncpg.Record]", load: MixedLoad, ends: float, wal: int
) -> Minute:
    published, notified = load.latencies()
    due, _ = await gauges.owed(database, load.presentities)
    figures: dict[str, float] = {
        "median PUBLISH": _percentile(published, 0.5),
        "p99 PUBLISH": _percentile(published, 0.99),
        "median NOTIFY": _percentile(notified, 0.5),
        "p99 NOTIFY": _percentile(notified, 0.99),
        "change_event": due,
        "wal": wal,
    }
    figures |= {f"memory {name}": value for name, value in (await gauges.memory(running)).items()}
    for table, row in (await gauges.sizes(database)).items():
        figures |= {f"{kind} {table}": value for kind, value in row.items()}
    return Minute(ends, figures)


async def play(
    running: RunningSet,
    seconds: float,
    say: Say,
    *,
    seed: int,
    presentities: int = PRESENTITIES,
    warm_up: float = WARM_UP,
    calibration: float = CALIBRATION,
    interval: float = 60.0,
) -> Report:
    """A soak on a set; a line of figures each `interval` seconds."""
    report = Report(seed)
    url = (await asyncio.to_thread(ask, running.data, {"command": "stores"}))["db_url"]
    database = await asyncpg.connect(url, server_settings={"application_name": "soak"})
    load = MixedLoad(running, presentities, seed)
    try:
        await load.start()
        await load.as_fast_as_it_goes(warm_up)
        report.peak = await load.as_fast_as_it_goes(calibration)
        report.rate = report.peak * PART
        say(f"peak {report.peak:.0f} requests/s; {report.rate:.0f} requests/s for {seconds / 60:.1f} minutes")
        load.latencies()
        begun = time.monotonic()
        ticks = asyncio.create_task(load.at_a_rate(report.rate, seconds))
        wal = await gauges.written(database)
        for number in range(1, int(seconds / interval) + 1):
            await asyncio.wait([ticks], timeout=max(0.0, begun + number * interval - time.monotonic()))
            before, wal = wal, await gauges.written(database)
            minute = await _minute(running, database, load, number * interval, wal - before)
            report.minutes.append(minute)
            say(str(minute))
            if ticks.done() and ticks.exception() is not None:
                break
        await ticks
        await load.rest()
        report.wrong += await _at_rest(database, load)
        report.load_average = os.getloadavg()
        report.answers, report.notifies, report.late = dict(load.answers), load.notifies, load.late
    finally:
        await load.close()
        await database.close()
    return report


async def _at_rest(database: "asyncpg.Connection[asyncpg.Record]", load: MixedLoad) -> list[str]:
    """What is wrong once the load has ended: lost, refused, owed."""
    found = [*load.faults, *(f"{count} times {answer}" for answer, count in load.refused().items())]
    found += await load.converges(lambda: gauges.stored(database))

    async def nothing_owed() -> bool:
        return await gauges.owed(database, load.presentities) == (0, 0)

    try:
        await until(nothing_owed, "nothing is owed", deadline=AT_REST_WITHIN)
    except AssertionError:
        due, outstanding = await gauges.owed(database, load.presentities)
        found.append(f"at rest change_event has {due} rows and {outstanding} NOTIFYs are outstanding")
    return found


async def _main(options: argparse.Namespace, say: Say) -> Report:
    async with started(*SET) as running:
        return await play(running, options.minutes * 60, say, seed=options.seed, presentities=options.presentities)


def main() -> None:
    """Soak a set of its own; the exit code is 1 where something grew or was wrong."""
    parser = argparse.ArgumentParser(description="A mixed load at a third of the peak, and whether anything grows.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, after the peak was found")
    parser.add_argument("--presentities", type=int, default=PRESENTITIES, help="how many there are")
    parser.add_argument("--seed", type=int, default=1, help="which clients do what")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    report = asyncio.run(_main(options, say))
    if options.json:
        say(report.as_text())
    sys.stdout.write(f"{json.dumps(report.as_dict()) if options.json else report.as_text()}\n")
    sys.exit(1 if report.problems() else 0)


if __name__ == "__main__":
    main()
