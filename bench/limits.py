"""A million publications and a million dialogs: `python -m bench.limits`. What they cost, as ratios of one run.

The same load is offered to a set on an empty database and on one that was filled by SQL: how long answers take and
what they cost, how long the start takes, how fast a mass of publications expires, and which tables are read from end
to end meanwhile. The fill belongs to presentities that nobody asks for; it is removed with the database.
"""

import argparse
import asyncio
import itertools
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import asyncpg

from bench import sipp
from bench.cpu_time import cpu_seconds
from bench.fill import TABLES, fill
from bench.postgres import PostgresServer, embedded_server, look_at
from bench.sipp import Step
from bench.vedette import running_on

ROWS = 1_000_000
RATE = 100
SECONDS = 15.0
ROUNDS = 3
EXPIRING = 100_000
WATCHED = 64
SETTLES, IDLE_FOR = 3.0, 16.0
"""Seconds; the latter are longer than any interval of a notifier but that of the sweep."""
SCANS_FOR = 40.0
"""Seconds in which tables are watched for being read from end to end: longer than any interval of a notifier."""
ALLOWED = 1.5

EXPIRE = {
    "publications": """
        UPDATE presentity SET expires = clock_timestamp()
        WHERE (presentity_hash, publication_id) IN (
            SELECT presentity_hash, publication_id FROM presentity WHERE username LIKE 'f%' AND ended IS NULL LIMIT $1
        )
        """,
    "dialogs": """
        UPDATE active_watchers SET expires = clock_timestamp()
        WHERE (presentity_hash, dialog_id) IN (
            SELECT presentity_hash, dialog_id FROM active_watchers
            WHERE user_agent = 'fill' AND ended IS NULL LIMIT $1
        )
        """,
}
OVERDUE = {
    "publications": "SELECT count(*) FROM presentity WHERE ended IS NULL AND expires <= clock_timestamp()",
    "dialogs": "SELECT count(*) FROM active_watchers WHERE ended IS NULL AND expires <= clock_timestamp()",
}
SCANS = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY ($1)"


@dataclass(frozen=True)
class Figures:
    """What was found on one database."""

    start_s: float
    publish_ms: float
    publish_cpu: float
    """CPU seconds of the set and of Postgres for 1,000 requests."""
    subscribe_ms: float
    subscribe_cpu: float
    idle_cpu: float
    """CPU seconds in a second in which nobody asks for anything; not part of the costs above."""
    expiry_rate: float
    """Publications that ended each second while a mass of them was due, and nothing else was asked for."""
    dialog_expiry_rate: float
    """The same of dialogs."""
    publish_ms_while_expiring: float
    """As `publish_ms`, of one round, while as many publications end again."""
    scans: Mapping[str, int]
    """How often each table was read from end to end."""


class Limits:
    """Measures a set on one database, time and again."""

    def __init__(self, server: PostgresServer, database: str, folder: Path, options: argparse.Namespace) -> None:
        self._server = server
        self._database = database
        self._folder = folder
        self._options = options
        self._names = (f"{secrets.token_hex(3)}x{number}" for number in itertools.count(1))
        self._published: list[tuple[str, ...]] = []

    async def measure(self, expiring: int) -> Figures:
        """Start a set on the database as it is, and offer it the load."""
        connection = await asyncpg.connect(self._database)
        begun = time.monotonic()
        port = sipp.free_port("127.0.0.1")
        folder = self._folder / next(self._names)
        folder.mkdir(mode=0o755)
        try:
            async with running_on(self._database, folder, port) as system:
                start = time.monotonic() - begun
                _say(f"  started in {start:.1f} s")
                processes = [*system.processes, self._server.postmaster]
                before = await self._scans(connection)
                scanning = time.monotonic()
                await asyncio.sleep(SETTLES)
                idle = await _idle(processes)
                publish = await self._offer("publish", system.address, processes, idle)
                subscribe = await self._offer("subscribe", system.address, processes, idle)
                await asyncio.sleep(max(0.0, scanning + SCANS_FOR - time.monotonic()))
                after = await self._scans(connection)
                expiry = await self._expiry(connection, expiring, system.address) if expiring else (0.0, 0.0, 0.0)
        finally:
            await connection.close()
        scans = {table: after[table] - before[table] for table in TABLES}
        return Figures(start, *publish, *subscribe, idle, *expiry, scans)

    async def _expiry(
        self, connection: "asyncpg.Connection[asyncpg.Record]", count: int, address: tuple[str, int]
    ) -> tuple[float, float, float]:
        """Publications and dialogs that end each second, and how long PUBLISH takes while they do."""
        publications = await _expire(connection, "publications", count)
        dialogs = await _expire(connection, "dialogs", count)
        expiring = asyncio.create_task(_expire(connection, "publications", count))
        calls = int(self._options.rate * self._options.seconds)
        step = await sipp.run(
            "publish", address, self._folder, rate=self._options.rate, calls=calls, run_id=next(self._names)
        )
        _say(f"  publish meanwhile: {step.describe()}")
        await expiring
        return publications, dialogs, step.response_ms

    async def _scans(self, connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        return {row["relname"]: row["seq_scan"] for row in await connection.fetch(SCANS, list(TABLES))}

    async def _offer(
        self, scenario: str, address: tuple[str, int], processes: list[int], idle: float
    ) -> tuple[float, float]:
        """Milliseconds until the answer and CPU seconds for 1,000, the best of the rounds: others use the machine."""
        calls = int(self._options.rate * self._options.seconds)
        steps: list[tuple[Step, float]] = []
        for number in range(self._options.rounds + 1):
            rows = (
                list(itertools.islice(itertools.cycle(self._published[:WATCHED]), calls))
                if scenario != "publish"
                else []
            )
            before, begun = cpu_seconds(processes), time.monotonic()
            step = await sipp.run(
                scenario,
                address,
                self._folder,
                rate=self._options.rate,
                calls=calls,
                run_id=next(self._names),
                rows=rows,
            )
            cost = 1000 * (cpu_seconds(processes) - before - idle * (time.monotonic() - begun)) / calls
            if scenario == "publish":
                self._published = [row for row in step.log if len(row) == 2]
            _say(f"  {scenario}: {step.describe()}, {cost:.2f} CPU s for 1,000{'' if number else ' (to warm up)'}")
            if number:
                steps.append((step, cost))
        return min(step.response_ms for step, _ in steps), min(cost for _, cost in steps)


async def _idle(processes: list[int]) -> float:
    """CPU seconds in a second."""
    before, begun = cpu_seconds(processes), time.monotonic()
    await asyncio.sleep(IDLE_FOR)
    idle = (cpu_seconds(processes) - before) / (time.monotonic() - begun)
    _say(f"  idle: {idle:.2f} CPU s in a second")
    return idle


async def _expire(connection: "asyncpg.Connection[asyncpg.Record]", kind: str, count: int) -> float:
    """Have so many be due at once; how many ended each second."""
    await connection.execute(EXPIRE[kind], count)
    begun, due = time.monotonic(), await connection.fetchval(OVERDUE[kind])
    while await connection.fetchval(OVERDUE[kind]):
        await asyncio.sleep(0.2)
    seconds = time.monotonic() - begun
    _say(f"  {due} {kind} expired in {seconds:.1f} s")
    return float(due / seconds)


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[PostgresServer]:
    async with embedded_server(folder) as url:
        yield await look_at(url)


async def _run(options: argparse.Namespace) -> tuple[Figures, Figures]:
    with tempfile.TemporaryDirectory(prefix="vedette-limits-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with _server(folder / "postgres") as server, server.fresh_database("bench_limits") as database:
            limits = Limits(server, database, folder, options)
            _say("to make the schema:")
            async with running_on(database, folder / "first", sipp.free_port("127.0.0.1")):
                pass
            _say("empty:")
            empty = await limits.measure(0)
            _say(f"filling with {options.rows} publications and dialogs:")
            await fill(database, 1, options.rows, _say)
            await server.checkpoint()
            _say("full:")
            return empty, await limits.measure(min(options.expiring, options.rows))


def verdict(empty: Figures, full: Figures) -> list[tuple[str, float, float, float]]:
    """Name, both figures and their ratio, of what is held to a limit."""
    names = ("start_s", "publish_ms", "publish_cpu", "subscribe_ms", "subscribe_cpu")
    pairs = [(name, float(getattr(empty, name)), float(getattr(full, name))) for name in names]
    return [(name, small, large, large / small if small else 0.0) for name, small, large in pairs]


def main() -> None:
    """Measure both, and print the ratios; the exit code is 1 where one is above ALLOWED."""
    parser = argparse.ArgumentParser(description="What a million publications and dialogs cost.")
    parser.add_argument("--rows", type=int, default=ROWS, help="publications, and dialogs, of the fill")
    parser.add_argument("--rate", type=int, default=RATE, help="requests each second")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds, of which the best counts")
    parser.add_argument("--expiring", type=int, default=EXPIRING, help="publications that are due at once")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if (lacking := sipp.missing()) is not None:
        sys.exit(f"not installed: {lacking}")
    empty, full = asyncio.run(_run(options))
    ratios = verdict(empty, full)
    if options.json:
        sys.stdout.write(json.dumps({"empty": asdict(empty), "full": asdict(full), "load": os.getloadavg()}) + "\n")
    else:
        sys.stdout.write(f"{options.rows} publications and dialogs, load average {os.getloadavg()[1]:.1f}\n")
        for name, small, large, ratio in ratios:
            sys.stdout.write(f"{name:15} empty {small:8.2f}   full {large:8.2f}   ratio {ratio:5.2f}\n")
        sys.stdout.write(f"idle CPU s in a second: empty {empty.idle_cpu:.2f}, full {full.idle_cpu:.2f}\n")
        sys.stdout.write(
            f"{options.expiring} due at once: {full.expiry_rate:,.0f} publications, "
            f"{full.dialog_expiry_rate:,.0f} dialogs each second; "
            f"PUBLISH meanwhile {full.publish_ms_while_expiring:.0f} ms\n"
        )
        sys.stdout.write(f"read from end to end in {SCANS_FOR:g} s of load: {dict(full.scans)}\n")
    sys.exit(1 if any(ratio > ALLOWED for *_, ratio in ratios) else 0)


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now().astimezone():%H:%M:%S} {text}\n")


if __name__ == "__main__":
    main()
