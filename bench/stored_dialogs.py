"""What a PUBLISH and a NOTIFY cost beside a thousand, a hundred thousand and a million stored dialogs.

The dialogs belong to presentities that nobody publishes; those that are published have watchers of their own. A
PUBLISH is measured without watchers; what the same costs more with watchers is the price of their NOTIFYs.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import cost, sipp
from bench.fill import fill
from bench.phones import Load, Phones
from bench.plan import Plan
from bench.postgres import PostgresServer
from bench.replicas import costs_of
from bench.vedette import running_on

ALONE, ALONE_RATE = 500, 300
"""Presentities without watchers, and their PUBLISHes in a second."""
WATCHED, WATCHERS_EACH, WATCHED_RATE = 100, 20, 50
ROUNDS = 2
"""Of which the cheaper counts: others use the machine."""
ROUND_SECONDS = IDLE_FOR = 15.0
"""The longest interval in which a notifier looks for something by itself: each round has its part of that."""
WARM_SECONDS = 4.0
WINDOW = 32
PATIENCE = 120.0
SETTLE = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class StoredCost:
    """One size of the database."""

    dialogs: int
    """Stored, and as many publications."""
    publish: dict[str, float]
    """CPU seconds by role for 1,000 modifying PUBLISHes without watchers, without what idling uses."""
    notify: dict[str, float]
    """CPU seconds by role for 1,000 NOTIFYs."""
    idle: dict[str, float]
    """CPU seconds in a second while nothing happens."""
    publish_load: Load
    notify_load: Load


async def measure(
    server: PostgresServer, folder: Path, plan: Plan, say: Say, keep: Callable[[StoredCost], None]
) -> None:
    """All sizes on one database that grows; `keep` has each. Raises PhonesError, VedetteError."""
    folder.mkdir(mode=0o755)
    async with server.fresh_database("bench_stored") as database:
        async with running_on(database, folder / "schema", sipp.free_port("127.0.0.1")):
            say("the schema is there")
        stored = 0
        for size in plan.sizes:
            say(f"{size} publications and dialogs:")
            await fill(database, stored + 1, size, say)
            stored = size
            await server.checkpoint()
            keep(await _measure(server, database, folder / str(size), size, say))


async def _measure(server: PostgresServer, database: str, folder: Path, size: int, say: Say) -> StoredCost:
    async with running_on(database, folder, sipp.free_port("127.0.0.1")) as system:
        roles = {**system.roles, server.postmaster: "postgres"}
        run = secrets.token_hex(3)
        with (
            Phones(system.address, f"{run}a", ALONE, 0, say) as alone,
            Phones(system.address, f"{run}b", WATCHED, WATCHERS_EACH, say) as watched,
        ):
            for phones, rate in ((alone, ALONE_RATE), (watched, WATCHED_RATE)):
                await asyncio.to_thread(phones.publish_all, WINDOW, PATIENCE)
                await asyncio.to_thread(phones.subscribe_all, WINDOW, PATIENCE)
                await asyncio.to_thread(phones.change, rate, WARM_SECONDS, PATIENCE)
            await server.checkpoint()
            await asyncio.sleep(SETTLE)
            idle = await cost.idle(roles, IDLE_FOR)
            publish, publish_load = min(
                [await costs_of(alone, roles, idle, ALONE_RATE, ROUND_SECONDS, say) for _ in range(ROUNDS)],
                key=lambda one: sum(one[0].values()),
            )
            both, notify_load = min(
                [await costs_of(watched, roles, idle, WATCHED_RATE, ROUND_SECONDS, say) for _ in range(ROUNDS)],
                key=lambda one: sum(one[0].values()),
            )
    notify = {role: max(0.0, used - publish[role]) / WATCHERS_EACH for role, used in both.items()}
    say(f"  CPU s for 1,000: PUBLISH {sum(publish.values()):.2f}, NOTIFY {sum(notify.values()):.2f}")
    return StoredCost(size, publish, notify, idle, publish_load, notify_load)
