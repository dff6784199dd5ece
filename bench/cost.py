"""What a load costs: CPU seconds by role, with and without what a system uses that nobody asks for anything."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.cpu_time import cpu_by_role


@dataclass(frozen=True)
class Reading:
    """CPU seconds of each role up to a moment."""

    at: float
    used: Mapping[str, float]


def read(roles: Mapping[int, str]) -> Reading:
    """The reading of now."""
    return Reading(time.monotonic(), cpu_by_role(roles))


async def idle(roles: Mapping[int, str], seconds: float) -> dict[str, float]:
    """CPU seconds in a second while nothing happens."""
    before = read(roles)
    await asyncio.sleep(seconds)
    after = read(roles)
    return {role: (after.used[role] - used) / (after.at - before.at) for role, used in before.used.items()}


def for_thousand(
    before: Reading, after: Reading, count: float, idle_use: Mapping[str, float] | None = None
) -> dict[str, float]:
    """CPU seconds by role for 1,000 of `count` things done between two readings, without what idling uses."""
    seconds = after.at - before.at
    spare = idle_use or {}
    return {
        role: 1000 * max(0.0, after.used[role] - used - spare.get(role, 0.0) * seconds) / count
        for role, used in before.used.items()
    }
