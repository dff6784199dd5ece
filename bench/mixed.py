"""A mixed load: thousands of presentities, each with some watchers, whose states change at a rate for a minute."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import cost
from bench.cpu_time import memory_by_role
from bench.one_watcher import describe
from bench.phones import Load, Phones, PhonesError
from bench.plan import Plan
from bench.postgres import PostgresServer
from bench.system import SystemUnderTest

WINDOW = 64
"""Requests that are open at once while dialogs are made: what is held is as fast as it is answered."""
SETUP_PATIENCE = 400.0
PATIENCE = 20.0
"""Seconds after the last PUBLISH in which NOTIFYs still count."""
SETTLE = 5.0
IDLE_FOR = 5.0

Say = Callable[[str], None]
MakeDialogs = Callable[[Phones], Awaitable[int]]


@dataclass(frozen=True)
class Mixed:
    """What it showed."""

    presentities: int
    watchers_each: int
    dialogs: int
    """Those that the watchers had when the load began."""
    setup: str
    """How they came to have them."""
    setup_s: float
    load: Load
    cost: dict[str, float]
    """CPU seconds for 1,000 NOTIFYs with their share of a PUBLISH, by role, without what idling uses."""
    memory_before: dict[str, int]
    """Octets by role, with the presentities and before there was a dialog."""
    memory_after: dict[str, int]
    """The same with all dialogs."""


async def measure(
    system: SystemUnderTest,
    server: PostgresServer,
    plan: Plan,
    run_id: str,
    say: Say,
    make_dialogs: MakeDialogs | None = None,
) -> Mixed:
    """Publish all, subscribe all (or have `make_dialogs` do it), then offer the load. Raises PhonesError."""
    roles = {**system.roles, server.postmaster: "postgres"}
    with Phones(system.address, run_id, plan.presentities, plan.watchers_each, say) as phones:
        say(f"publishing {plan.presentities} presentities")
        await asyncio.to_thread(phones.publish_all, WINDOW, SETUP_PATIENCE)
        before = memory_by_role(roles)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        say(f"making {plan.presentities * plan.watchers_each} dialogs")
        if make_dialogs is None:
            setup = "SUBSCRIBE"
            dialogs = await asyncio.to_thread(phones.subscribe_all, WINDOW, SETUP_PATIENCE)
        else:
            setup = "SQL"
            dialogs = await make_dialogs(phones)
        seconds = loop.time() - begun
        say(f"{dialogs} dialogs by {setup} in {seconds:.0f} s")
        if not dialogs:
            raise PhonesError("there are no dialogs")
        await server.checkpoint()
        await asyncio.to_thread(phones.serve, SETTLE)
        idle = await cost.idle(roles, IDLE_FOR)
        after = memory_by_role(roles)
        used = cost.read(roles)
        load = await asyncio.to_thread(phones.change, plan.mixed_rate, plan.mixed_seconds, PATIENCE)
        spent = cost.for_thousand(used, cost.read(roles), max(1, load.notifies), idle)
    say(describe(load))
    return Mixed(plan.presentities, plan.watchers_each, dialogs, setup, seconds, load, spent, before, after)
