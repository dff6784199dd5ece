"""Sets of one, two and four cores and notifiers under one load: what a request costs in each."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import cost, sipp, vedette
from bench.one_watcher import describe
from bench.phones import Load, Phones
from bench.plan import Plan
from bench.postgres import PostgresServer

COUNTS = (1, 2, 4)
PRESENTITIES = 1000
"""Each with one watcher."""
ROUNDS = 3
"""Of which the cheapest counts: others use the machine."""
ROUND_SECONDS = 10.0
WARM_SECONDS = 4.0
WINDOW = 32
PATIENCE = 60.0
IDLE_FOR = 6.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReplicaCost:
    """One set."""

    cores: int
    notifiers: int
    cost: dict[str, float]
    """CPU seconds by role for 1,000 PUBLISHes, each with its NOTIFY, without what idling uses."""
    idle: dict[str, float]
    """CPU seconds in a second while nothing happens."""
    load: Load


async def measure(
    server: PostgresServer, folder: Path, plan: Plan, say: Say, keep: Callable[[ReplicaCost], None]
) -> None:
    """All sets, one after the other, each on a new database; `keep` has each. Raises PhonesError, VedetteError."""
    folder.mkdir(mode=0o755)
    for count in COUNTS:
        keep(await _measure(server, folder / str(count), plan, count, say))


async def _measure(server: PostgresServer, folder: Path, plan: Plan, count: int, say: Say) -> ReplicaCost:
    folder.mkdir(mode=0o755)
    options = ("--cores", str(count), "--notifiers", str(count))
    say(f"{count} cores and {count} notifiers")
    async with vedette.running(server, folder, sipp.free_port("127.0.0.1"), options) as system:
        roles = {**system.roles, server.postmaster: "postgres"}
        with Phones(system.address, secrets.token_hex(3), PRESENTITIES, 1, say) as phones:
            await asyncio.to_thread(phones.publish_all, WINDOW, PATIENCE)
            await asyncio.to_thread(phones.subscribe_all, WINDOW, PATIENCE)
            await asyncio.to_thread(phones.change, plan.replica_rate, WARM_SECONDS, PATIENCE)
            await server.checkpoint()
            idle = await cost.idle(roles, IDLE_FOR)
            rounds = [
                await costs_of(phones, roles, idle, plan.replica_rate, ROUND_SECONDS, say) for _ in range(ROUNDS)
            ]
    spent, load = min(rounds, key=lambda one: sum(one[0].values()))
    return ReplicaCost(count, count, spent, idle, load)


async def costs_of(
    phones: Phones, roles: Mapping[int, str], idle: Mapping[str, float], rate: float, seconds: float, say: Say
) -> tuple[dict[str, float], Load]:
    """One round of changes, and the CPU seconds by role for 1,000 of them, with their NOTIFYs."""
    before = cost.read(roles)
    load = await asyncio.to_thread(phones.change, rate, seconds, PATIENCE)
    spent = cost.for_thousand(before, cost.read(roles), max(1, load.changes), idle)
    say(f"  {describe(load)}; {sum(spent.values()):.2f} CPU s for 1,000")
    return spent, load
